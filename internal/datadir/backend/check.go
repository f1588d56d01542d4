package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
)

// Pages says how the pages of a file are used.
type Pages struct {
	Total int64 // below the high-water mark
	InUse int64 // reachable from the root, with the two headers and the freelist
}

// Visit is called for each key of each top-level bucket, in order. The slices are valid during the call only.
type Visit func(bucket string, key, value []byte) error

// Walk reads every page once and checks the whole structure: each page is reached at most once and says its own
// number, keys rise within and across pages, nothing points outside, nothing reachable is listed as free. visit may be
// nil. It stops at the first contradiction (ErrCorrupt), at visit's error or when ctx ends.
func (f *File) Walk(ctx context.Context, visit Visit) (Pages, error) {
	if err := f.CheckExtent(); err != nil {
		return Pages{}, err
	}
	w := walker{ctx: ctx, f: f, visit: visit, seen: make([]uint64, f.meta.highWater/64+1)}
	w.mark(0)
	w.mark(1)
	if err := w.freelist(); err != nil {
		return Pages{}, err
	}
	root := f.rootTree()
	if _, err := w.walk(root, root.root, 0, "", nil); err != nil {
		return Pages{}, err
	}
	return Pages{Total: int64(f.meta.highWater), InUse: w.inUse}, nil //nolint:gosec // bounded by CheckExtent
}

type walker struct {
	ctx   context.Context //nolint:containedctx // lives for one call of Walk
	f     *File
	visit Visit
	seen  []uint64 // a bit a page
	free  map[uint64]struct{}
	inUse int64
	pages int
	bufs  [][]byte // one a depth: a page's slices are in use while its children are read
}

func (w *walker) mark(id uint64) bool {
	word, bit := id/64, uint64(1)<<(id%64)
	if w.seen[word]&bit != 0 {
		return false
	}
	w.seen[word] |= bit
	w.inUse++
	return true
}

func (w *walker) markAll(n node) error {
	for id := n.id; id <= n.id+n.overflow; id++ {
		if !w.mark(id) {
			return fmt.Errorf("%w: page %d is used twice", ErrCorrupt, id)
		}
		if _, ok := w.free[id]; ok {
			return fmt.Errorf("%w: page %d is in use and listed as free", ErrCorrupt, id)
		}
	}
	return nil
}

// freelist reads the list of free pages. etcd does not keep one in the file (it rebuilds it), but a file that another
// bbolt tool rewrote has it.
func (w *walker) freelist() error {
	if w.f.meta.freelist == noFreelist {
		return nil
	}
	n, err := w.f.readNode(w.f.meta.freelist, nil)
	if err != nil {
		return err
	}
	if n.flags != flagFreelist {
		return fmt.Errorf("%w: page %d is not the freelist that the header says", ErrCorrupt, n.id)
	}
	if err := w.markAll(n); err != nil {
		return err
	}
	ids, ok := freelistIDs(n.b, n.count)
	if !ok {
		return fmt.Errorf("%w: the freelist claims more pages than it has room for", ErrCorrupt)
	}
	count := uint64(len(ids) / 8) //nolint:gosec // not negative
	w.free = make(map[uint64]struct{}, count)
	for i := range count {
		id := binary.LittleEndian.Uint64(ids[i*8:])
		if id < 2 || id >= w.f.meta.highWater {
			return fmt.Errorf("%w: the freelist names page %d", ErrCorrupt, id)
		}
		if _, ok := w.free[id]; ok {
			return fmt.Errorf("%w: the freelist names page %d twice", ErrCorrupt, id)
		}
		w.free[id] = struct{}{}
	}
	return nil
}

// freelistIDs cuts the list out of its page, 8 bytes each.
func freelistIDs(page []byte, headerCount int) ([]byte, bool) {
	ids := page[headerSize:]
	count := uint64(headerCount) //nolint:gosec // 16 bits in the file
	if count == 0xFFFF {         // too many for the header's 16 bits: the first entry is the count
		if len(ids) < 8 {
			return nil, false
		}
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return nil, false
	}
	return ids[:count*8], true
}

// walk visits the subtree of page id. least is the key that the parent has for it: no key below may be smaller. It
// returns the greatest key seen (a copy), which the next sibling's keys must exceed.
func (w *walker) walk(t tree, id uint64, depth int, bucket string, least []byte) (greatest []byte, err error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: a tree is deeper than %d pages", ErrCorrupt, maxDepth)
	}
	if w.pages++; w.pages%256 == 0 && w.ctx.Err() != nil {
		return nil, w.ctx.Err()
	}
	for len(w.bufs) <= depth {
		w.bufs = append(w.bufs, make([]byte, w.f.meta.pageSize))
	}
	n, err := t.node(id, w.bufs[depth])
	if err != nil {
		return nil, err
	}
	if t.inline == nil {
		if cap(n.b) > cap(w.bufs[depth]) {
			w.bufs[depth] = n.b // grown for a large value: the next one needs no new one
		}
		if err := w.markAll(n); err != nil {
			return nil, err
		}
	}
	switch {
	case n.isBranch():
		return w.walkBranch(t, n, depth, bucket, least)
	case n.isLeaf():
		return w.walkLeaf(n, depth, bucket, least)
	default:
		return nil, fmt.Errorf("%w: page %d has flags %#x", ErrCorrupt, id, n.flags)
	}
}

func (w *walker) walkBranch(t tree, n node, depth int, bucket string, least []byte) ([]byte, error) {
	if n.count == 0 {
		return nil, fmt.Errorf("%w: branch page %d is empty", ErrCorrupt, n.id)
	}
	var greatest []byte
	for i := range n.count {
		key, child, err := n.branch(i)
		if err != nil {
			return nil, err
		}
		if i == 0 && bytes.Compare(key, least) < 0 || i > 0 && bytes.Compare(key, greatest) <= 0 {
			return nil, fmt.Errorf("%w: page %d: keys out of order", ErrCorrupt, n.id)
		}
		if greatest, err = w.walk(t, child, depth+1, bucket, key); err != nil {
			return nil, err
		}
	}
	return greatest, nil
}

func (w *walker) walkLeaf(n node, depth int, bucket string, least []byte) ([]byte, error) {
	if n.count == 0 && least != nil {
		return nil, emptyLeaf.of(n.id)
	}
	prev := least
	for i := range n.count {
		key, value, isBucket, err := n.leaf(i)
		if err != nil {
			return nil, err
		}
		if c := bytes.Compare(key, prev); c < 0 || i > 0 && c == 0 {
			return nil, fmt.Errorf("%w: page %d: keys out of order", ErrCorrupt, n.id)
		}
		prev = key
		switch {
		case isBucket && bucket != "":
			// etcd has no nested buckets; reading one as data would be wrong.
			return nil, fmt.Errorf("%w: a bucket inside bucket %q", ErrCorrupt, bucket)
		case isBucket:
			sub, err := w.f.bucketTree(value)
			if err != nil {
				return nil, err
			}
			if _, err := w.walk(sub, sub.root, depth+1, string(key), nil); err != nil {
				return nil, fmt.Errorf("bucket %q: %w", key, err)
			}
		case bucket == "":
			return nil, fmt.Errorf("%w: a key outside of any bucket", ErrCorrupt)
		case w.visit != nil:
			if err := w.visit(bucket, key, value); err != nil {
				return nil, err
			}
		}
	}
	return bytes.Clone(prev), nil
}
