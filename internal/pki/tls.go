package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// Files are the places of a certificate, its key and the CA that the other side is verified with.
type Files struct {
	Cert, Key, CA string
}

// AgentFiles are the agent's own.
func AgentFiles(p node.Paths) Files { return pairFiles(p, AgentPair) }

// AdminFiles are those of the CLI on a control-plane node.
func AdminFiles(p node.Paths) Files { return pairFiles(p, AdminPair) }

func pairFiles(p node.Paths, name string) Files {
	return Files{
		Cert: filepath.Join(p.PKI(), name+".crt"),
		Key:  filepath.Join(p.PKI(), name+".key"),
		CA:   filepath.Join(p.EtcdPKI(), "ca.crt"),
	}
}

// ServerTLS is what an agent serves with: it demands a certificate of etcd's CA with a role, whatever it is asked. Files
// that change on disk are used from the next connection on; files that cannot be read leave the last good ones in use.
func ServerTLS(p node.Paths) (*tls.Config, error) {
	r, err := newReloader(AgentFiles(p))
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Not RequireAndVerifyClientCert: that demands the usage "client authentication", which ours must not have.
		// verifyCaller does all of the verification, on resumed sessions as well.
		ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _ := r.get()
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			_, roots := r.get()
			_, err := verifyCaller(s.PeerCertificates, roots, time.Now())
			return err
		},
	}, nil
}

// ClientTLS is what agents and the CLI call an agent with. serverName is the node's name or address; it must be in the
// agent's certificate.
func ClientTLS(f Files, serverName string) (*tls.Config, error) {
	if serverName == "" {
		return nil, errors.New("call an agent: no server name to verify it by")
	}
	r, err := newReloader(f)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := r.get()
			return cert, nil
		},
		// VerifyConnection does all of the verification, with the CA as it is on disk now.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			_, roots := r.get()
			return verifyAgent(s.PeerCertificates, roots, serverName, time.Now())
		},
	}, nil
}

// verifyCaller checks who calls an agent and says which role the caller has.
func verifyCaller(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (Role, error) {
	if len(chain) == 0 {
		return "", errors.New("the caller showed no certificate")
	}
	if err := verifyChain(chain, roots, "", x509.ExtKeyUsageAny, now); err != nil {
		return "", fmt.Errorf("the caller's certificate %q: %w", chain[0].Subject.CommonName, err)
	}
	return RoleOf(chain[0])
}

// verifyAgent checks that the other side is the agent it is taken for: etcd's own server certificate, which names the
// same hosts, will not do.
func verifyAgent(chain []*x509.Certificate, roots *x509.CertPool, serverName string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the agent showed no certificate")
	}
	if err := verifyChain(chain, roots, serverName, x509.ExtKeyUsageServerAuth, now); err != nil {
		return fmt.Errorf("the agent's certificate %q: %w", chain[0].Subject.CommonName, err)
	}
	role, err := RoleOf(chain[0])
	if err != nil {
		return err
	}
	if role != Agent {
		return fmt.Errorf("certificate %q has the role %s: it is no agent's", chain[0].Subject.CommonName, role)
	}
	return nil
}

func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, host string, usage x509.ExtKeyUsage, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, DNSName: host,
		KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now,
	})
	return err
}

// reloader holds a pair and a CA pool, and reads them again when a file has changed.
type reloader struct {
	files Files

	mu     sync.Mutex
	stamps [3]stamp
	cert   *tls.Certificate
	roots  *x509.CertPool
}

type stamp struct {
	modified time.Time
	size     int64
}

func newReloader(f Files) (*reloader, error) {
	r := &reloader{files: f}
	return r, r.load()
}

// get returns what is on disk, or the last that could be read.
func (r *reloader) get() (*tls.Certificate, *x509.CertPool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stat() != r.stamps {
		if err := r.load(); err != nil {
			slog.Warn("certificates changed on disk and cannot be used: the last good ones stay in use", "error", err)
		}
	}
	return r.cert, r.roots
}

func (r *reloader) stat() (out [3]stamp) {
	for i, path := range []string{r.files.Cert, r.files.Key, r.files.CA} {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

func (r *reloader) load() error {
	// The stamps are taken first: a change while the files are read is seen next time.
	r.stamps = r.stat()
	cert, err := tls.LoadX509KeyPair(r.files.Cert, r.files.Key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", r.files.Cert, err)
	}
	bundle, err := os.ReadFile(r.files.CA)
	if err != nil {
		return fmt.Errorf("CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("CA %s holds no PEM certificate", r.files.CA)
	}
	r.cert, r.roots = &cert, roots
	return nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
