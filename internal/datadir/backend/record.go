package backend

import (
	"encoding/binary"
	"slices"
)

type kind uint8

const (
	kindBad        kind = iota // p says why
	kindBranch                 // children in the arena at a
	kindRevBranch              // the same, all separators are revisions
	kindLeaf                   // first and last key in the arena at a
	kindRevLeaf                // all keys are revisions: first a/subA, last b/subB
	kindFreelist               // a is the index of its list
	firstTombstone = 1 << 0
	lastTombstone  = 1 << 1
	hasBuckets     = 1 << 2 // an element is a bucket
	hasData        = 1 << 3 // an element is none
	hasContent     = 1 << 4 // its bytes are on the shelf under extra
	contentLost    = 1 << 5 // the shelf was full
)

// record is what is kept of a page: 40 bytes, for a file of 4 GiB may have a million of them.
type record struct {
	id       uint32
	overflow uint16 // maxStreamNode keeps it in 16 bits
	count    uint16
	kind     kind
	flags    uint8
	problem  problem // of the page, or of an entry in it
	extra    uint32  // the index of its first mark or of its content
	a, b     uint64
	subA     uint32
	subB     uint32
}

func (r *record) bad(p problem) { r.kind, r.problem = kindBad, p }

// records grow by blocks: a slice that doubles would need three times the memory for a moment.
type records struct {
	blocks []*[recordBlock]record
	n      int
}

const recordBlock = 4096

func (r *records) add() (*record, int) {
	if r.n%recordBlock == 0 {
		r.blocks = append(r.blocks, new([recordBlock]record))
	}
	r.n++
	return r.at(r.n - 1), r.n - 1
}

func (r *records) at(i int) *record { return &r.blocks[i/recordBlock][i%recordBlock] }

// arena holds keys and lists of children. A reference is block and offset in one number.
type arena struct {
	blocks [][]byte
	total  int64
}

const arenaBlock = 256 << 10

func (a *arena) put(b []byte) uint64 {
	last := len(a.blocks) - 1
	if last < 0 || cap(a.blocks[last])-len(a.blocks[last]) < len(b) {
		a.blocks = append(a.blocks, make([]byte, 0, max(arenaBlock, len(b))))
		last++
	}
	off := len(a.blocks[last])
	a.blocks[last] = append(a.blocks[last], b...)
	a.total += int64(len(b))
	return uint64(last)<<32 | uint64(off) //nolint:gosec // indexes
}

func (a *arena) at(ref uint64) []byte { return a.blocks[ref>>32][ref&0xFFFFFFFF:] }

func appendKey(b, key []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

// cutKey is the other way of appendKey, on bytes that it made.
func cutKey(b []byte) (key, rest []byte) {
	n, size := binary.Uvarint(b)
	return b[size : size+int(n)], b[size+int(n):] //nolint:gosec // our own bytes
}

// revKey is a revision as it is in a key of the key bucket, with a sub revision that fits: a transaction has some
// hundreds of operations.
type revKey struct {
	main      uint64
	sub       uint32
	tombstone bool
}

func parseRevKey(b []byte) (revKey, bool) {
	if len(b) != 17 && (len(b) != 18 || b[17] != 't') || b[8] != '_' {
		return revKey{}, false
	}
	main, sub := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[9:])
	if main>>63 != 0 || sub>>32 != 0 {
		return revKey{}, false
	}
	return revKey{main: main, sub: uint32(sub), tombstone: len(b) == 18}, true
}

func (k revKey) compare(o revKey) int {
	switch {
	case k.main != o.main:
		return cmp(k.main < o.main)
	case k.sub != o.sub:
		return cmp(k.sub < o.sub)
	case k.tombstone != o.tombstone:
		return cmp(o.tombstone)
	}
	return 0
}

func cmp(less bool) int {
	if less {
		return -1
	}
	return 1
}

// append gives the bytes back.
func (k revKey) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, k.main)
	b = append(b, '_')
	b = binary.BigEndian.AppendUint64(b, uint64(k.sub))
	if k.tombstone {
		b = append(b, 't')
	}
	return b
}

func (r *record) first() revKey {
	return revKey{main: r.a, sub: r.subA, tombstone: r.flags&firstTombstone != 0}
}

func (r *record) last() revKey {
	return revKey{main: r.b, sub: r.subB, tombstone: r.flags&lastTombstone != 0}
}

func (r *record) setFirst(k revKey) {
	r.a, r.subA = k.main, k.sub
	if k.tombstone {
		r.flags |= firstTombstone
	}
}

func (r *record) setLast(k revKey) {
	r.b, r.subB = k.main, k.sub
	if k.tombstone {
		r.flags |= lastTombstone
	}
}

// ends gives the first and last key of a leaf with elements. buf is room for two revisions.
func (r *record) ends(a *arena, buf *[36]byte) (first, last []byte) {
	if r.kind == kindRevLeaf {
		first = r.first().append(buf[:0:18])
		return first, r.last().append(buf[18:18])
	}
	first, rest := cutKey(a.at(r.a))
	last, _ = cutKey(rest)
	return first, last
}

type child struct {
	key []byte
	id  uint64
}

// children unpacks a branch page's children. keys is room for revisions, so that nothing is allocated for most pages.
func (r *record) children(a *arena, out []child, keys []byte) ([]child, []byte) {
	b := a.at(r.a)
	out, keys = out[:0], slices.Grow(keys[:0], int(r.count)*18)
	var main, id uint64
	for range r.count {
		var key []byte
		if r.kind == kindRevBranch {
			step, n := binary.Uvarint(b)
			sub, n2 := binary.Uvarint(b[n:])
			b = b[n+n2:]
			main += step
			at := len(keys)
			keys = revKey{main: main, sub: uint32(sub >> 1), tombstone: sub&1 != 0}.append(keys) //nolint:gosec // our own bytes
			key = keys[at:]
		} else {
			key, b = cutKey(b)
		}
		step, n := binary.Varint(b)
		b = b[n:]
		id += uint64(step) //nolint:gosec // wraps back
		out = append(out, child{key: key, id: id})
	}
	return out, keys
}
