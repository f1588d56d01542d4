package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// CheckOptions relax a Checker as VerifyOptions relax Verify.
type CheckOptions struct {
	// SkipHash accepts a stream that ends without a hash. A hash that is there is still compared.
	SkipHash bool
}

// hashAhead is how many blocks may wait to be hashed while the next ones are parsed.
const hashAhead = 3

// Checker verifies a snapshot while its bytes pass, without a second read and without a file: both sums, the length,
// every page, the tree that they form, every entry. It finds damage under a right hash too: of a source that was damaged
// when the snapshot was taken. For memory see backend.Stream; beside that there are some blocks of 1 MiB.
//
// A Checker is for one stream and one goroutine. Close it.
type Checker struct {
	o      CheckOptions
	stream *backend.Stream
	size   int64
	head   [4]byte
	block  []byte // fills up to backend.BlockSize
	err    error  // the first failure: nothing is taken after it
	closed bool

	sum    hash.Hash // of all that was handed to the hasher; its goroutine's until that ended
	toHash chan toHash
	made   int // blocks, of which hashAhead+2 are enough
	spare  chan []byte
	back   chan struct{} // a lent block is hashed
	hashed chan struct{} // the hasher has ended
}

// toHash is a block of the Checker's own, or one that the caller of Write has lent.
type toHash struct {
	b    []byte
	lent bool
}

// NewChecker begins a check.
func NewChecker(o CheckOptions) *Checker {
	c := &Checker{
		o: o, stream: backend.NewStream(), sum: sha256.New(),
		toHash: make(chan toHash, hashAhead), spare: make(chan []byte, hashAhead+2), back: make(chan struct{}, 1), hashed: make(chan struct{}),
	}
	go func() {
		defer close(c.hashed)
		for h := range c.toHash {
			_, _ = c.sum.Write(h.b)
			if h.lent {
				c.back <- struct{}{}
			} else {
				c.spare <- h.b // has room for all blocks that there are
			}
		}
	}()
	return c
}

var errCheckEnded = errors.New("the check has ended already")

// Write takes the next bytes of the snapshot's file, as many as there are. Its error says that this can not become a
// good snapshot whatever follows (ErrNotSnapshot).
func (c *Checker) Write(p []byte) (n int, err error) {
	defer recovered(&err)
	if c.err == nil && c.closed {
		c.err = errCheckEnded
	}
	for len(p) > 0 && c.err == nil {
		if len(c.block) == 0 && len(p) >= backend.BlockSize {
			c.size += backend.BlockSize
			c.lend(p[:backend.BlockSize])
			n, p = n+backend.BlockSize, p[backend.BlockSize:]
			continue
		}
		if c.block == nil {
			c.block = c.room()
		}
		k := copy(c.block[len(c.block):backend.BlockSize], p)
		c.block = c.block[:len(c.block)+k]
		n, p = n+k, p[k:]
		c.size += int64(k)
		if len(c.block) == backend.BlockSize {
			c.full()
		}
	}
	return n, c.err
}

// room waits for the hasher once all blocks are with it.
func (c *Checker) room() []byte {
	if c.made < hashAhead+2 {
		c.made++
		return make([]byte, 0, backend.BlockSize)
	}
	return (<-c.spare)[:0]
}

// full hands a whole block on. A hash at the end never lies in one: whole blocks end where pages do.
func (c *Checker) full() {
	c.parse(c.block)
	c.toHash <- toHash{b: c.block}
	c.block = nil
}

// lend is full for a block of the caller's, which is not copied: it is parsed while it is hashed, and given back then.
func (c *Checker) lend(b []byte) {
	c.toHash <- toHash{b: b, lent: true}
	defer func() { <-c.back }()
	c.parse(b)
}

func (c *Checker) parse(b []byte) {
	if c.size == backend.BlockSize {
		copy(c.head[:], b)
	}
	if err := c.stream.Block(b); err != nil {
		c.err = notSnapshot(c.head, err)
	}
}

// Close ends an abandoned check. After Finish it does nothing.
func (c *Checker) Close() {
	if !c.closed {
		c.closed = true
		close(c.toHash)
		<-c.hashed
	}
}

// Finish says what the stream was, as Verify does of a file; Path is empty. Like Verify's its error wraps one of the
// package's, and where it is not nil Info has no sum.
func (c *Checker) Finish() (info Info, err error) {
	defer recovered(&err)
	if c.closed && c.err == nil {
		c.err = errCheckEnded
	}
	c.Close()
	// etcd's own rule: pages are multiples of 512 bytes, so these 32 bytes can only be the hash.
	info = Info{Size: c.size, HashPresent: c.size%512 == sha256.Size}
	if c.err != nil {
		return info, c.err
	}
	c.err = errCheckEnded
	rest := c.block
	var stored []byte
	if info.HashPresent {
		rest, stored = rest[:len(rest)-sha256.Size], rest[len(rest)-sha256.Size:]
	}
	size := c.size - int64(len(stored))
	if err := c.length(size, rest, info.HashPresent); err != nil {
		return info, err
	}
	if !info.HashPresent && !c.o.SkipHash {
		return info, fmt.Errorf("%w: %s accepts it as it is", ErrNoHash, SkipHashFlag)
	}
	_, _ = c.sum.Write(rest)
	content := c.sum.Sum(nil)
	if info.HashPresent && !bytes.Equal(content, stored) {
		return info, fmt.Errorf("%w: it was changed after it was taken (content %x…, hash says %x…); use another copy",
			ErrHashMismatch, content[:6], stored[:6])
	}
	found, err := c.stream.Finish(size)
	info.fill(found.Facts)
	if err != nil {
		return info, wrapped(err)
	}
	info.TotalKeys, info.LiveKeys, info.Leases = found.Entries, found.Live, found.Leases
	info.InUse = found.Pages.InUse * c.stream.PageSize()
	_, _ = c.sum.Write(stored)
	info.Hash, info.SHA256 = hex.EncodeToString(content), hex.EncodeToString(c.sum.Sum(nil))
	return info, nil
}

// length looks at the last bytes, the header and the length: most bad files show there, with a clearer reason than a
// wrong hash.
func (c *Checker) length(size int64, rest []byte, hashPresent bool) error {
	if c.size == 0 {
		return fmt.Errorf("%w: the file is empty", ErrTruncated)
	}
	if c.size < backend.BlockSize {
		copy(c.head[:], rest)
	}
	if err := c.stream.Block(rest); err != nil {
		return notSnapshot(c.head, err)
	}
	switch err := c.stream.CheckHeader(size); {
	case errors.Is(err, backend.ErrShort):
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	case err != nil && c.stream.PageSize() == 0 && !hashPresent:
		return wrapped(err)
	case err != nil && c.stream.PageSize() == 0:
		return nil // the header is damaged; the hash will say so of the whole file
	}
	if size%c.stream.PageSize() != 0 {
		return fmt.Errorf("%w: %d bytes are neither whole pages nor pages and a hash", ErrTruncated, c.size)
	}
	return nil
}

// verify passes a file through a Checker.
func verify(ctx context.Context, path string, o VerifyOptions) (info Info, err error) {
	f, size, err := openRegular(path)
	if err != nil {
		return Info{Path: path}, err
	}
	defer func() { _ = f.Close() }()
	c := NewChecker(CheckOptions(o))
	defer c.Close()
	// As long as it was when it was opened: what is appended meanwhile is no part of it.
	err = copyContext(ctx, c, io.LimitReader(f, size))
	if err == nil {
		info, err = c.Finish()
	}
	info.Path = path
	return info, err
}
