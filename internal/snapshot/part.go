package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/durable"
)

// ErrExists: there is a file at the destination already; a snapshot is never overwritten.
var ErrExists = fmt.Errorf("%w; a snapshot is never overwritten, choose another name", fs.ErrExist)

// ErrBusy: another process is writing the same file.
var ErrBusy = errors.New("another run is writing this file")

// PartFile is a snapshot on its way: <path>.part until it is whole.
type PartFile struct {
	path string
	f    *os.File
	sum  hash.Hash
	size int64
	done bool
}

// Receive begins <path>.part, readable by its owner only: a snapshot holds every secret of the cluster. What an
// interrupted run left there is overwritten; that of a run still going is ErrBusy.
func Receive(path string) (*PartFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the user's destination
	if err != nil {
		return nil, err
	}
	p := &PartFile{path: path, f: f, sum: sha256.New()}
	if err := p.begin(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s.part: %w", path, err)
	}
	return p, nil
}

func (p *PartFile) begin() error {
	err := unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a descriptor fits an int
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	if err != nil {
		return err
	}
	if err := p.f.Chmod(0o600); err != nil {
		return err
	}
	return p.f.Truncate(0)
}

// Write appends.
func (p *PartFile) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	_, _ = p.sum.Write(b[:n])
	p.size += int64(n)
	return n, err
}

// PartPath is where the bytes are until Commit.
func (p *PartFile) PartPath() string { return p.path + ".part" }

// Size so far, in bytes.
func (p *PartFile) Size() int64 { return p.size }

// SHA256 so far, in hex.
func (p *PartFile) SHA256() string { return hex.EncodeToString(p.sum.Sum(nil)) }

// Commit compares size and checksum (of the whole file, hex) with what the sender says, flushes, and gives the file
// its name. After an error the .part file is still there; Abort removes it.
func (p *PartFile) Commit(expectedSHA256 string, size int64) error {
	if p.size != size {
		return fmt.Errorf("%s: %w: %d of %d bytes arrived", p.PartPath(), ErrTruncated, p.size, size)
	}
	if got := p.SHA256(); got != expectedSHA256 {
		return fmt.Errorf("%s: %w: received %s, sent %s; send it again", p.PartPath(), ErrHashMismatch, got, expectedSHA256)
	}
	return p.commit()
}

func (p *PartFile) commit() error {
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", p.PartPath(), err)
	}
	if err := durable.RenameNew(p.PartPath(), p.path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", p.path, ErrExists)
		}
		return err
	}
	p.done = true
	return p.f.Close()
}

// Abort removes the .part file; after Commit it does nothing, so it can be deferred.
func (p *PartFile) Abort() error {
	if p.done {
		return nil
	}
	p.done = true
	// Removed while the lock is held: nobody else's .part can be under that name.
	err := os.Remove(p.PartPath())
	return errors.Join(err, p.f.Close())
}
