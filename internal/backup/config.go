package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"filippo.io/age"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/backup/frame"
	"clusteretcd.io/ceo/internal/store"
)

// DefaultLocation is where backups go unless something else is said.
const DefaultLocation = "file:///var/lib/etcd-backup"

// Config is backup.yaml, which lies on every control-plane node and is root's alone (P29): nothing about backups may be
// readable only through an API that is down.
type Config struct {
	Location    string            `json:"location,omitempty"` // URL of the store
	Credentials store.Credentials `json:"credentials,omitzero"`
	// Recipients are age public keys. With any, everything but the manifest is encrypted to all of them.
	Recipients []string `json:"recipients,omitempty"`
	// IdentityFile holds age secret keys. Without it this node makes backups and cannot read them.
	IdentityFile string      `json:"identityFile,omitempty"`
	Compression  frame.Level `json:"compression,omitempty"` // off, fastest (the default), default, better
	// Resources: the control plane's static files too. Default true.
	Resources *bool  `json:"resources,omitempty"`
	Retention Policy `json:"retention,omitzero"`
}

// WithResources reports whether static files belong to a backup.
func (c Config) WithResources() bool { return c.Resources == nil || *c.Resources }

// String shows no credentials.
func (c Config) String() string {
	return fmt.Sprintf("backups in %s, %d recipients", c.Location, len(c.Recipients))
}

// GoString is as String: %#v must not show them either.
func (c Config) GoString() string { return c.String() }

// LoadConfig reads backup.yaml; a missing one means the defaults.
func LoadConfig(path string) (Config, error) {
	c, err := loadConfig(path)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func loadConfig(path string) (Config, error) {
	c, err := readConfig(path)
	if err != nil {
		return c, err
	}
	return c.complete()
}

// readConfig reads what the file itself says.
func readConfig(path string) (Config, error) {
	c := Config{}
	b, err := readSecret(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return c, err
	default:
		// The error of a line that does not parse may quote it.
		if err := yaml.UnmarshalStrict(b, &c); err != nil {
			return Config{}, fmt.Errorf("not as it should be (see docs/backups.md): %s", withoutValues(err))
		}
	}
	return c, nil
}

// complete fills in the defaults and checks the rest.
func (c Config) complete() (Config, error) {
	if c.Location == "" {
		c.Location = DefaultLocation
	}
	if err := c.Compression.Check(); err != nil {
		return c, err
	}
	if _, err := c.recipients(); err != nil {
		return c, err
	}
	return c, c.Retention.check()
}

// withoutValues keeps an error's words on fields and lines and drops the content: it may be a credential.
func withoutValues(err error) string {
	s := err.Error()
	if i := bytes.IndexByte([]byte(s), '`'); i >= 0 {
		s = s[:i] + "(value not shown)"
	}
	return s
}

// readSecret reads a file that must be its owner's alone.
func readSecret(path string) ([]byte, error) {
	// Without blocking: a named pipe would hang the open.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // a path of the configuration
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("it belongs to user %d, who may read and change it, and it holds secrets: chown root %s", sys.Uid, path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read it (mode %o), and it holds secrets: chmod 600 %s", st.Mode().Perm(), path)
	}
	if st.Size() > maxManifest {
		return nil, fmt.Errorf("it has %d bytes, which is no configuration", st.Size())
	}
	return io.ReadAll(io.LimitReader(f, maxManifest+1))
}

func (c Config) recipients() ([]age.Recipient, error) {
	var out []age.Recipient
	for _, s := range c.Recipients {
		r, err := age.ParseX25519Recipient(s)
		if err != nil {
			return nil, fmt.Errorf("recipients: %q is no age public key (age1…): %w", s, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Identities are the secret keys that are here, and where they came from.
type Identities struct {
	keys []age.Identity
	from string
}

// Identities reads the identity file; none is no error until something has to be opened.
func (c Config) Identities() (Identities, error) {
	if c.IdentityFile == "" {
		return Identities{}, nil
	}
	b, err := readSecret(c.IdentityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Identities{from: c.IdentityFile + ", which is not there"}, nil
	}
	if err != nil {
		return Identities{}, fmt.Errorf("identityFile %s: %w", c.IdentityFile, err)
	}
	keys, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return Identities{}, fmt.Errorf("identityFile %s: it holds no age secret key", c.IdentityFile)
	}
	return Identities{keys, c.IdentityFile}, nil
}

// ErrExposed: keys would lie, readable, where others can reach them.
var ErrExposed = errors.New("not stored unencrypted")

// MayStore refuses what would put the cluster's keys, readable, where others can reach them.
func MayStore(s store.Store, c Config, resources bool) error {
	if !resources || s.Local() || len(c.Recipients) > 0 {
		return nil
	}
	return fmt.Errorf("%w: %s is not on this node, and the backup would hold the CA's keys for anybody to read there: make a key with `ceo backup key /var/lib/ceo/backup.key` and name its public half under recipients in backup.yaml, or leave the static files out (resources: false, or --no-resources)", ErrExposed, s.URL())
}
