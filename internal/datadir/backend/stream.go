package backend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
)

// BlockSize of a Stream, in bytes: a multiple of every page size, and enough to hold both headers.
const BlockSize = 1 << 20

// maxStreamNode bounds what is buffered for one page with its overflow pages.
const maxStreamNode = 64 << 20

// Stream checks a backend whose bytes pass by once, in the order of the file. It finds what File.Walk finds, and what
// contradicts itself in the entries of the key bucket.
//
// Pages come in the order of the file and the tree that they form is known at the end only. So of every page that may
// be one (its header carries its own number) a compact record is kept, whatever it is: a live page, an old copy in free
// space, or bytes within a value that look like a page. Finish goes through the tree from the root over the records;
// what it does not reach does not count. Memory: 40 bytes a page, 8 an entry up to 8 million entries, and some bytes
// for each child of a branch page. Where content is made to cost more than that it ends in ErrCorrupt.
type Stream struct {
	meta meta
	err  error // of the header: nothing was looked at
	pos  int64 // bytes that passed
	done bool

	records  records
	keys     arena
	marks    marks
	shelf    shelf
	settled  bool   // the root was seen and holds all small buckets: the shelf is not needed any more
	rootPage []byte // content of the root if it is a leaf
	freelist []uint64

	open    []span // pages that go on past the last block
	window  []byte // the bytes of all of them, from page windowAt
	winPage uint64
	overlap int64 // bytes of pages with overflow so far
	packed  []byte
}

// span is a page that is still arriving: it ends before page end.
type span struct {
	record  int
	id, end uint64
}

// NewStream begins one.
func NewStream() *Stream { return &Stream{marks: marks{seed: maphash.MakeSeed()}} }

// Block takes the next bytes: BlockSize of them, fewer in the last block only. It keeps nothing of b. The error is
// ErrNotBackend; all else is Finish's to say, when it is known what counts.
func (s *Stream) Block(b []byte) error {
	if s.pos == 0 && !s.done {
		s.meta, s.err = readMeta(bytes.NewReader(b), int64(len(b)))
	}
	if s.done {
		return errors.New("a block after a short one")
	}
	s.done = len(b) != BlockSize
	first := s.pos
	s.pos += int64(len(b))
	if s.err != nil {
		if errors.Is(s.err, ErrNotBackend) {
			return s.err
		}
		return nil
	}
	s.pages(uint64(first)/uint64(s.meta.pageSize), b) //nolint:gosec // not negative
	return nil
}

// limit of pages looked at: those in use, and as many as have a number that fits a record.
func (s *Stream) limit() uint64 { return min(s.meta.highWater, 1<<32) }

// pages looks at the pages of a block; first is the number of the first one.
func (s *Stream) pages(first uint64, b []byte) {
	ps := uint64(s.meta.pageSize)
	end := first + uint64(len(b))/ps
	s.resume(first, end, b)
	for id := max(first, 2); id < min(end, s.limit()); id++ {
		page := b[(id-first)*ps:]
		if binary.LittleEndian.Uint64(page) != id {
			continue
		}
		s.page(id, first, end, b)
	}
	s.hold(first, b[:(end-first)*ps])
}

func (s *Stream) page(id, first, end uint64, b []byte) {
	ps := uint64(s.meta.pageSize)
	n, _ := parseNode(b[(id-first)*ps : (id-first+1)*ps])
	if n.flags == flagFreelist && id != s.meta.freelist {
		return // an old one
	}
	r, i := s.records.add()
	r.id, r.count = uint32(id), uint16(n.count) //nolint:gosec // below limit; 16 bits in the file
	size := (int64(n.overflow) + 1) * int64(ps) //nolint:gosec // 32 bits in the file
	switch {
	case n.flags != flagLeaf && n.flags != flagBranch && n.flags != flagFreelist:
		r.bad(badFlags)
		return
	case id+n.overflow >= s.limit():
		r.bad(pastEnd)
		return
	case size > maxStreamNode:
		r.bad(tooLarge)
		return
	}
	r.overflow = uint16(n.overflow) //nolint:gosec // bounded by maxStreamNode
	if n.overflow == 0 {
		s.parse(r, n.b)
		return
	}
	// Pages with overflow can not overlap in a tree. Those that do are old ones or bytes within a value; the work for
	// them is bounded.
	if s.overlap += size; s.overlap > 4*s.pos+maxStreamNode {
		r.bad(tooManyOverlaps)
		return
	}
	if last := id + n.overflow; last < end {
		s.parse(r, b[(id-first)*ps:(last-first+1)*ps])
		return
	}
	s.open = append(s.open, span{record: i, id: id, end: id + n.overflow + 1})
}

// resume parses the pages that ended in this block.
func (s *Stream) resume(first, end uint64, b []byte) {
	if len(s.open) == 0 {
		return
	}
	ps := uint64(s.meta.pageSize)
	upTo := first
	for _, o := range s.open {
		upTo = max(upTo, min(o.end, end))
	}
	s.window = append(s.window, b[:(upTo-first)*ps]...)
	left := s.open[:0]
	for _, o := range s.open {
		if o.end > end {
			left = append(left, o)
			continue
		}
		s.parse(s.records.at(o.record), s.window[(o.id-s.winPage)*ps:(o.end-s.winPage)*ps])
	}
	s.open = left
}

// hold keeps the bytes of the pages that go on in the next block.
func (s *Stream) hold(first uint64, b []byte) {
	if len(s.open) == 0 {
		if s.window = s.window[:0]; cap(s.window) > 4*BlockSize {
			s.window = nil
		}
		return
	}
	ps := uint64(s.meta.pageSize)
	from := s.open[0].id
	for _, o := range s.open {
		from = min(from, o.id)
	}
	switch {
	case from >= first:
		s.window = append(s.window[:0], b[(from-first)*ps:]...)
	default:
		// resume appended up to the block's end: a page that began before it and goes on was among the open ones.
		n := copy(s.window, s.window[(from-s.winPage)*ps:])
		s.window = s.window[:n]
	}
	s.winPage = from
}

// Content is what a whole backend holds.
type Content struct {
	Facts Facts
	Pages Pages
	// Entries of the key bucket: every kept revision of every key, deletions included.
	Entries int64
	// Live keys exist at Facts.Revision. -1: not counted, there are more than 8 million entries in the file.
	Live   int64
	Leases int64
}

// PageSize in bytes; 0 before the first block and where the header is damaged.
func (s *Stream) PageSize() int64 { return int64(s.meta.pageSize) }

// CheckHeader says at the end whether there are headers and whether the file, of size bytes, has all that they name.
func (s *Stream) CheckHeader(size int64) error {
	if s.err != nil {
		return s.err
	}
	f := File{size: size, meta: s.meta}
	return f.CheckExtent()
}

// Finish goes through the tree. size is that of the backend in bytes.
func (s *Stream) Finish(size int64) (Content, error) {
	if err := s.CheckHeader(size); err != nil {
		return Content{}, err
	}
	if s.pos < size {
		return Content{}, fmt.Errorf("%w: %d of %d bytes passed", ErrShort, s.pos, size)
	}
	if s.meta.highWater > s.limit() {
		return Content{}, fmt.Errorf("%w: its header names %d pages", ErrCorrupt, s.meta.highWater)
	}
	return s.resolve()
}
