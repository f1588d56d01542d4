package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// The names of what is in a backup's folder.
const (
	manifestName = "manifest.json"
	proofName    = "proof.json"
	// maxManifest is far above what a manifest with some hundred files takes.
	maxManifest = 1 << 20
)

// What can be wrong with a backup.
var (
	ErrManifest = errors.New("the manifest is damaged")
	ErrNewer    = errors.New("the backup is of a newer format")
	ErrDamaged  = errors.New("the backup is damaged")
	ErrWrongKey = errors.New("no key here opens the backup")
	ErrNoBackup = errors.New("no such backup")
)

var (
	idForm     = regexp.MustCompile(`^\d{8}t\d{6}z-[0-9a-f]{4}$`)
	objectForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.]{0,63}$`)
	hexForm    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	idPart     = regexp.MustCompile(`^\d{8}(t\d{0,6}(z(-[0-9a-f]{0,4})?)?)?$`)
)

// LooksLikeID tells a backup's id, or the beginning of one with the whole day, from a file's name.
func LooksLikeID(s string) bool { return idPart.MatchString(s) }

func newID(now time.Time) (string, error) {
	b := make([]byte, 2)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random id: %w", err)
	}
	return now.UTC().Format("20060102t150405z") + "-" + hex.EncodeToString(b), nil
}

// encode gives the canonical bytes: indented JSON in the order of the fields, with the digest over the same with none.
func encode[T any](v T, digest func(*T) *string) ([]byte, error) {
	*digest(&v) = ""
	plain, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(plain)
	*digest(&v) = hex.EncodeToString(sum[:])
	out, err := json.MarshalIndent(v, "", "  ")
	return append(out, '\n'), err
}

// decode takes canonical bytes alone, so that every changed bit is found, in the white space too.
func decode[T any](b []byte, digest func(*T) *string) (T, error) {
	var v T
	if len(b) > maxManifest {
		return v, fmt.Errorf("%w: it has more than %d bytes", ErrManifest, maxManifest)
	}
	var version struct {
		FormatVersion int `json:"formatVersion"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return v, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if version.FormatVersion > FormatVersion {
		return v, fmt.Errorf("%w: version %d, known is %d; use a newer ceo", ErrNewer, version.FormatVersion, FormatVersion)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	again, err := encode(v, digest)
	if err != nil {
		return v, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if !bytes.Equal(again, b) {
		return v, fmt.Errorf("%w: its content does not match its digest", ErrManifest)
	}
	return v, nil
}

func manifestDigest(m *Manifest) *string { return &m.Digest }
func proofDigest(p *Proof) *string       { return &p.Digest }

// Encode gives what manifest.json holds.
func (m Manifest) Encode() ([]byte, error) { return encode(m, manifestDigest) }

// DecodeManifest reads and checks manifest.json. Its object names are plain names: a manifest leads nowhere else.
func DecodeManifest(b []byte) (Manifest, error) {
	m, err := decode(b, manifestDigest)
	if err != nil {
		return Manifest{}, err
	}
	bad := func(what string) (Manifest, error) { return Manifest{}, fmt.Errorf("%w: %s", ErrManifest, what) }
	d := m.Database
	switch {
	case m.FormatVersion != FormatVersion:
		return bad("it has no format version")
	case !idForm.MatchString(m.ID):
		return bad(fmt.Sprintf("%q is no backup's name", m.ID))
	case !objectForm.MatchString(d.Object) || !hexForm.MatchString(d.SHA256) || !hexForm.MatchString(d.StoredSHA256):
		return bad("its database has no name or no digest")
	case d.Size <= 0 || d.StoredSize <= 0 || d.Revision <= 0 || d.TotalKeys < 0:
		return bad("its database has no size or revision")
	case m.ReadBack != Decrypted && m.ReadBack != StoredBytes:
		return bad("it does not say how it was read back")
	}
	if r := m.Resources; r != nil {
		if !objectForm.MatchString(r.Object) || !hexForm.MatchString(r.SHA256) || !hexForm.MatchString(r.StoredSHA256) || r.Object == d.Object || r.Size <= 0 || r.StoredSize <= 0 {
			return bad("its resources have no name, size or digest")
		}
	}
	return m, nil
}

// DecodeProof reads and checks proof.json of a manifest.
func DecodeProof(b []byte, m Manifest) (Proof, error) {
	p, err := decode(b, proofDigest)
	if err != nil {
		return Proof{}, err
	}
	if p.ManifestSHA256 != m.Digest {
		return Proof{}, fmt.Errorf("%w: the proof is of another backup", ErrManifest)
	}
	return p, nil
}

// WriteProof records beside a backup that it was proven.
func WriteProof(ctx context.Context, s store.Store, m Manifest, p Proof) (Proof, error) {
	p.ManifestSHA256 = m.Digest
	b, err := encode(p, proofDigest)
	if err != nil {
		return p, err
	}
	if err := putSmall(ctx, s, m.ID+"/"+proofName, b); err != nil {
		return p, err
	}
	return DecodeProof(b, m)
}

func putSmall(ctx context.Context, s store.Store, key string, b []byte) (err error) {
	w, err := s.Create(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	got, err := getSmall(ctx, s, key)
	if err == nil && !bytes.Equal(got, b) {
		err = fmt.Errorf("%w: %s is not what was written", ErrDamaged, URL(s.URL(), key))
	}
	return err
}

func getSmall(ctx context.Context, s store.Store, key string) ([]byte, error) {
	r, err := s.Range(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(io.LimitReader(r, maxManifest+1))
}
