package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

var (
	// ErrNotBackend: the file is no bbolt file at all.
	ErrNotBackend = errors.New("not a bbolt database")
	// ErrCorrupt: a bbolt file whose content contradicts itself.
	ErrCorrupt = errors.New("corrupt database")
	// ErrShort: the file ends before the last page that its own header names.
	ErrShort = errors.New("database file is cut short")
)

const (
	magic   = 0xED0CDAED
	version = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	headerSize = 16 // id, flags, count, overflow
	elemSize   = 16 // both kinds of elements
	metaSize   = 64

	leafIsBucket = 0x01
	noFreelist   = ^uint64(0)

	minPageSize = 1024
	maxPageSize = 64 << 10
	// maxNodeSize bounds what one page number may make this read into memory. etcd's largest value is its request
	// limit (1.5 MiB, at most some tens); the freelist of a 100 GiB file is 200 MB.
	maxNodeSize = 512 << 20
	// maxDepth bounds a descent: a tree with at least two children a page can not be deeper than this on 2^48 bytes.
	maxDepth = 48
)

type meta struct {
	pageSize  uint32
	root      uint64
	freelist  uint64
	highWater uint64 // first page number never used
	txid      uint64
}

// File is a backend as of one committed transaction.
type File struct {
	r    io.ReaderAt
	size int64
	meta meta
}

// Open reads the header. size is where the database ends in r: a snapshot has its hash after it.
func Open(r io.ReaderAt, size int64) (*File, error) {
	m, err := readMeta(r, size)
	if err != nil {
		return nil, err
	}
	return &File{r: r, size: size, meta: m}, nil
}

// readMeta picks the valid meta page with the higher transaction id, as bbolt does: the other one may be torn.
func readMeta(r io.ReaderAt, size int64) (meta, error) {
	var best meta
	found, sawMagic := false, false
	try := func(off int64) bool {
		var buf [headerSize + metaSize]byte
		if off+int64(len(buf)) > size {
			return false
		}
		if n, err := r.ReadAt(buf[:], off); n < len(buf) && err != nil {
			return false
		}
		m, ok := parseMeta(buf[:])
		sawMagic = sawMagic || binary.LittleEndian.Uint32(buf[headerSize:]) == magic
		// Meta 1 is one page in: a size that says otherwise is a value of some key that looks like a meta page.
		if !ok || (off != 0 && off != int64(m.pageSize)) {
			return false
		}
		if !found || m.txid > best.txid {
			best, found = m, true
		}
		return true
	}
	if try(0) {
		try(int64(best.pageSize))
	} else {
		for ps := int64(minPageSize); ps <= maxPageSize; ps *= 2 {
			if try(ps) {
				break
			}
		}
	}
	switch {
	case found:
		return best, nil
	case sawMagic:
		return meta{}, fmt.Errorf("%w: neither of its two header pages is valid", ErrCorrupt)
	default:
		return meta{}, ErrNotBackend
	}
}

func parseMeta(page []byte) (meta, bool) {
	b := page[headerSize:]
	le := binary.LittleEndian
	m := meta{
		pageSize:  le.Uint32(b[8:]),
		root:      le.Uint64(b[16:]),
		freelist:  le.Uint64(b[32:]),
		highWater: le.Uint64(b[40:]),
		txid:      le.Uint64(b[48:]),
	}
	h := fnv.New64a()
	_, _ = h.Write(b[:56])
	ok := le.Uint32(b) == magic && le.Uint32(b[4:]) == version && le.Uint64(b[56:]) == h.Sum64() &&
		le.Uint16(page[8:])&flagMeta != 0 &&
		m.pageSize >= minPageSize && m.pageSize <= maxPageSize && m.pageSize&(m.pageSize-1) == 0
	return m, ok
}

// Unchanged reports whether r still has the transaction that f was opened at as its newest. bbolt never overwrites a
// page of the newest committed transaction, so what was read of a file that another process writes is consistent if
// this holds after the reading.
func (f *File) Unchanged() bool {
	m, err := readMeta(f.r, f.size)
	return err == nil && m == f.meta
}

// Used is the number of bytes that the pages in use end at: the file is at least that long when whole.
func (f *File) Used() int64 {
	return int64(f.meta.highWater) * int64(f.meta.pageSize) //nolint:gosec // bounded by checkExtent before it matters
}

// PageSize of the file in bytes.
func (f *File) PageSize() int64 { return int64(f.meta.pageSize) }

// CheckExtent tells a file that was cut short, the most common damage, from other damage.
func (f *File) CheckExtent() error {
	ps := uint64(f.meta.pageSize)
	if f.meta.highWater < 4 || f.meta.highWater > (1<<62)/ps {
		return fmt.Errorf("%w: its header names %d pages", ErrCorrupt, f.meta.highWater)
	}
	if used := f.Used(); used > f.size {
		return fmt.Errorf("%w: its header names %d bytes, %d are there", ErrShort, used, f.size)
	}
	return nil
}

// pages is how many a page number may be below: used, and there.
func (f *File) pages() uint64 {
	return min(f.meta.highWater, uint64(f.size)/uint64(f.meta.pageSize)) //nolint:gosec // a file's size is not negative
}

// node is one page with its overflow pages.
type node struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	b        []byte
}

// readNode reads page id into buf (grown if too small) and checks all that can be checked without its neighbours.
func (f *File) readNode(id uint64, buf []byte) (node, error) {
	ps := int64(f.meta.pageSize)
	if id < 2 || id >= f.pages() {
		return node{}, fmt.Errorf("%w: page %d is out of range", ErrCorrupt, id)
	}
	off := int64(id) * ps //nolint:gosec // id < pages() was checked
	if int64(cap(buf)) < ps {
		buf = make([]byte, ps)
	}
	buf = buf[:ps]
	if _, err := io.ReadFull(io.NewSectionReader(f.r, off, ps), buf); err != nil {
		return node{}, fmt.Errorf("read page %d: %w", id, err)
	}
	n, err := parseNode(buf)
	if err != nil {
		return node{}, fmt.Errorf("page %d: %w", id, err)
	}
	if n.id != id {
		return node{}, fmt.Errorf("%w: page %d says that it is page %d", ErrCorrupt, id, n.id)
	}
	if n.overflow == 0 {
		return n, nil
	}
	if id+n.overflow >= f.pages() {
		return node{}, fmt.Errorf("%w: page %d goes on past the end", ErrCorrupt, id)
	}
	total := (int64(n.overflow) + 1) * ps //nolint:gosec // 32 bits in the file
	if total > maxNodeSize {
		return node{}, fmt.Errorf("%w: page %d claims %d bytes", ErrCorrupt, id, total)
	}
	big := buf[:cap(buf)]
	if int64(len(big)) < total {
		big = make([]byte, total)
		copy(big, buf)
	}
	big = big[:total]
	if _, err := io.ReadFull(io.NewSectionReader(f.r, off+ps, total-ps), big[ps:]); err != nil {
		return node{}, fmt.Errorf("read page %d: %w", id, err)
	}
	n.b = big
	return n, nil
}

func parseNode(b []byte) (node, error) {
	if len(b) < headerSize {
		return node{}, fmt.Errorf("%w: page too small", ErrCorrupt)
	}
	le := binary.LittleEndian
	return node{
		id:       le.Uint64(b),
		flags:    le.Uint16(b[8:]),
		count:    int(le.Uint16(b[10:])),
		overflow: uint64(le.Uint32(b[12:])),
		b:        b,
	}, nil
}

func (n node) isLeaf() bool   { return n.flags == flagLeaf }
func (n node) isBranch() bool { return n.flags == flagBranch }

// branch returns element i of a branch page.
func (n node) branch(i int) (key []byte, child uint64, err error) {
	off := headerSize + i*elemSize
	if off+elemSize > len(n.b) {
		return nil, 0, fmt.Errorf("%w: page %d: element %d is outside of it", ErrCorrupt, n.id, i)
	}
	le := binary.LittleEndian
	key, err = n.slice(off, le.Uint32(n.b[off:]), 0, le.Uint32(n.b[off+4:]))
	return key, le.Uint64(n.b[off+8:]), err
}

// leaf returns element i of a leaf page.
func (n node) leaf(i int) (key, value []byte, isBucket bool, err error) {
	off := headerSize + i*elemSize
	if off+elemSize > len(n.b) {
		return nil, nil, false, fmt.Errorf("%w: page %d: element %d is outside of it", ErrCorrupt, n.id, i)
	}
	le := binary.LittleEndian
	flags, pos := le.Uint32(n.b[off:]), le.Uint32(n.b[off+4:])
	ksize, vsize := le.Uint32(n.b[off+8:]), le.Uint32(n.b[off+12:])
	if flags > leafIsBucket {
		return nil, nil, false, fmt.Errorf("%w: page %d: element %d has flags %#x", ErrCorrupt, n.id, i, flags)
	}
	if key, err = n.slice(off, pos, 0, ksize); err != nil {
		return nil, nil, false, err
	}
	if value, err = n.slice(off, pos, ksize, vsize); err != nil {
		return nil, nil, false, err
	}
	return key, value, flags == leafIsBucket, nil
}

// slice is the length bytes at (element offset + pos + skip): positions in the file count from the element.
func (n node) slice(off int, pos, skip, length uint32) ([]byte, error) {
	start := uint64(off) + uint64(pos) + uint64(skip) //nolint:gosec // off is a small positive offset in a page
	end := start + uint64(length)
	if end > uint64(len(n.b)) {
		return nil, fmt.Errorf("%w: page %d: data of an element lies outside of it", ErrCorrupt, n.id)
	}
	return n.b[start:end], nil
}
