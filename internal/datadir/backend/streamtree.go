package backend

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxContent bounds how many leaves are read whole to gather the facts.
const maxContent = 10_000

// resolver goes through the tree when all pages have passed.
type resolver struct {
	*Stream
	used, free bitmap
	index      bitmap   // pages that have a record
	rank       []uint32 // records before each word of index
	inUse      int64
	whole      int // leaves read whole
	levels     []level
	visit      map[string]func(key, value []byte) error // for the buckets that facts come from
	hasKey     bool
	hasMeta    bool
	last       revKey // the greatest revision so far
	entries    int64
	leases     int64
	leaves     []*record // of the key bucket, in order
	facts      Facts
}

// level is room for the children of one branch page of each depth.
type level struct {
	children []child
	keys     []byte
}

type bitmap []uint64

func newBitmap(n uint64) bitmap { return make(bitmap, n/64+1) }

func (m bitmap) has(id uint64) bool { return m[id/64]>>(id%64)&1 != 0 }

// set reports whether it was not set.
func (m bitmap) set(id uint64) bool {
	word, bit := id/64, uint64(1)<<(id%64)
	was := m[word] & bit
	m[word] |= bit
	return was == 0
}

// bounds of a subtree: keys from least (inclusive) to below (exclusive; nil: no bound).
type bounds struct{ least, below []byte }

func (b bounds) hold(first, last []byte) bool {
	return bytes.Compare(first, b.least) >= 0 && (b.below == nil || bytes.Compare(last, b.below) < 0)
}

func (s *Stream) resolve() (Content, error) {
	n := s.meta.highWater
	r := &resolver{Stream: s, used: newBitmap(n), free: newBitmap(n), index: newBitmap(n)}
	r.visit = map[string]func(key, value []byte) error{
		BucketMeta: r.facts.addMeta, bucketCluster: r.facts.addCluster,
		bucketMembers: r.facts.addMember, bucketMembersRemoved: r.facts.addRemoved,
	}
	for i := range s.records.n {
		r.index.set(uint64(s.records.at(i).id))
	}
	r.rank = make([]uint32, len(r.index))
	for i := 1; i < len(r.index); i++ {
		r.rank[i] = r.rank[i-1] + uint32(bits.OnesCount64(r.index[i-1])) //nolint:gosec // at most 64
	}
	for header := range uint64(2) {
		if err := r.use(header, 0); err != nil {
			return Content{}, err
		}
	}
	if err := r.checkFreelist(); err != nil {
		return Content{}, err
	}
	if err := r.walk(s.meta.root, 0, "", bounds{}); err != nil {
		if s.rootPage != nil && !listsKeyAndMeta(s.rootPage) {
			return Content{}, notEtcd() // says more than what is wrong in it
		}
		return Content{}, err
	}
	if !r.hasKey || !r.hasMeta {
		return Content{}, notEtcd()
	}
	r.facts.LastKeyRevision = int64(r.last.main) //nolint:gosec // not negative, by parseRevKey
	r.facts.settle()
	return Content{
		Facts: r.facts, Pages: Pages{Total: int64(n), InUse: r.inUse}, //nolint:gosec // bounded by CheckExtent
		Entries: r.entries, Live: s.marks.live(r.leaves), Leases: r.leases,
	}, nil
}

// listsKeyAndMeta is false where a list of buckets can be read and has other ones.
func listsKeyAndMeta(b []byte) bool {
	found := 0
	err := eachElement(b, func(key, _ []byte) error {
		if string(key) == BucketKey || string(key) == BucketMeta {
			found++
		}
		return nil
	})
	return err != nil || found >= 2
}

// find gives the record of a page; nil: the page's header does not carry its number.
func (r *resolver) find(id uint64) *record {
	if id >= r.meta.highWater || !r.index.has(id) {
		return nil
	}
	before := bits.OnesCount64(r.index[id/64] & (1<<(id%64) - 1))
	return r.records.at(int(r.rank[id/64]) + before)
}

func (r *resolver) use(id uint64, overflow uint16) error {
	for p := id; p <= id+uint64(overflow); p++ {
		if !r.used.set(p) {
			return fmt.Errorf("%w: page %d is used twice", ErrCorrupt, p)
		}
		if r.free.has(p) {
			return fmt.Errorf("%w: page %d is in use and listed as free", ErrCorrupt, p)
		}
		r.inUse++
	}
	return nil
}

func (r *resolver) checkFreelist() error {
	if r.meta.freelist == noFreelist {
		return nil
	}
	rec := r.find(r.meta.freelist)
	switch {
	case rec == nil || rec.kind != kindFreelist && rec.kind != kindBad:
		return fmt.Errorf("%w: page %d is not the freelist that the header says", ErrCorrupt, r.meta.freelist)
	case rec.kind == kindBad:
		return rec.problem.of(r.meta.freelist)
	}
	if err := r.use(r.meta.freelist, rec.overflow); err != nil {
		return err
	}
	for _, id := range r.freelist {
		if id < 2 || id >= r.meta.highWater || !r.free.set(id) {
			return fmt.Errorf("%w: the freelist names page %d, out of range or twice", ErrCorrupt, id)
		}
		if r.used.has(id) {
			return fmt.Errorf("%w: page %d is in use and listed as free", ErrCorrupt, id)
		}
	}
	return nil
}

// walk checks the subtree of page id of a bucket; "" is the list of buckets.
func (r *resolver) walk(id uint64, depth int, bucket string, in bounds) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: a tree is deeper than %d pages", ErrCorrupt, maxDepth)
	}
	if id < 2 || id >= r.meta.highWater {
		return fmt.Errorf("%w: page %d is out of range", ErrCorrupt, id)
	}
	rec := r.find(id)
	if rec == nil {
		return fmt.Errorf("%w: page %d does not say that it is page %d", ErrCorrupt, id, id)
	}
	if rec.kind == kindBad {
		return rec.problem.of(id)
	}
	if err := r.use(id, rec.overflow); err != nil {
		return err
	}
	switch rec.kind {
	case kindBranch, kindRevBranch:
		return r.walkBranch(rec, depth, bucket, in)
	case kindLeaf, kindRevLeaf:
		return r.walkLeaf(rec, depth, bucket, in, nil)
	default:
		return fmt.Errorf("%w: page %d is neither branch nor leaf", ErrCorrupt, id)
	}
}

func (r *resolver) walkBranch(rec *record, depth int, bucket string, in bounds) error {
	for len(r.levels) <= depth {
		r.levels = append(r.levels, level{})
	}
	children, keys := rec.children(&r.keys, r.levels[depth].children, r.levels[depth].keys)
	r.levels[depth] = level{children: children, keys: keys}
	if !in.hold(children[0].key, children[len(children)-1].key) {
		return keyOrder.of(uint64(rec.id))
	}
	for i, c := range children {
		below := in.below
		if i+1 < len(children) {
			below = children[i+1].key
		}
		if err := r.walk(c.id, depth+1, bucket, bounds{least: c.key, below: below}); err != nil {
			return err
		}
	}
	return nil
}

// walkLeaf checks a leaf; content is given for a bucket that lies within its parent's value.
func (r *resolver) walkLeaf(rec *record, depth int, bucket string, in bounds, content []byte) error {
	id := uint64(rec.id)
	if rec.count == 0 && in.least != nil {
		return emptyLeaf.of(id)
	}
	if rec.count > 0 {
		var buf [36]byte
		if !in.hold(rec.ends(&r.keys, &buf)) {
			return keyOrder.of(id)
		}
	}
	if bucket == "" {
		return r.buckets(rec, depth)
	}
	if rec.flags&hasBuckets != 0 && rec.kind == kindLeaf {
		// etcd has no nested buckets; reading one as data would be wrong.
		return fmt.Errorf("%w: page %d: a bucket inside bucket %q", ErrCorrupt, id, bucket)
	}
	switch bucket {
	case BucketLease:
		r.leases += int64(rec.count)
	case BucketKey:
		return r.entriesOf(rec)
	}
	visit := r.visit[bucket]
	if visit == nil || rec.count == 0 {
		return nil
	}
	if content == nil {
		var err error
		if content, err = r.content(rec); err != nil || content == nil {
			return r.noFacts(rec, bucket, err)
		}
	}
	return eachElement(content, visit)
}

// eachElement calls visit for each element of a leaf that parsed once.
func eachElement(content []byte, visit func(key, value []byte) error) error {
	n, err := parseNode(content)
	if err != nil {
		return err
	}
	for i := range n.count {
		key, value, _, err := n.leaf(i)
		if err == nil {
			err = visit(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noFacts is for a page of a bucket of facts that has no element that looks like one.
func (r *resolver) noFacts(rec *record, bucket string, err error) error {
	if err == nil && (bucket == bucketMembers || bucket == bucketMembersRemoved) {
		return fmt.Errorf("%w: page %d: an element of bucket %q is no member", ErrCorrupt, rec.id, bucket)
	}
	return err
}

// content of a leaf, nil if nothing of it was worth keeping.
func (r *resolver) content(rec *record) ([]byte, error) {
	if r.whole++; r.whole > maxContent {
		return nil, fmt.Errorf("%w: a small bucket has no end", ErrCorrupt)
	}
	switch {
	case uint64(rec.id) == r.meta.root:
		return r.rootPage, nil
	case rec.kind != kindLeaf:
		return nil, nil
	case rec.flags&contentLost != 0:
		return nil, fmt.Errorf("%w: page %d and those like it are more than can be kept while the file passes by", ErrCorrupt, rec.id)
	case rec.flags&hasContent != 0:
		return r.shelf.get(rec.extra)
	}
	return nil, nil
}

// buckets reads a leaf of the list of buckets.
func (r *resolver) buckets(rec *record, depth int) error {
	if rec.count == 0 {
		return nil
	}
	if rec.kind != kindLeaf || rec.flags&hasData != 0 {
		return fmt.Errorf("%w: page %d: a key outside of any bucket", ErrCorrupt, rec.id)
	}
	content, err := r.content(rec)
	if err != nil {
		return err
	}
	return eachElement(content, func(name, value []byte) error {
		if err := r.bucket(string(name), value, depth); err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		}
		return nil
	})
}

func (r *resolver) bucket(name string, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("%w: a bucket's header has %d bytes", ErrCorrupt, len(value))
	}
	r.hasKey, r.hasMeta = r.hasKey || name == BucketKey, r.hasMeta || name == BucketMeta
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return r.walk(root, depth+1, name, bounds{})
	}
	b := value[bucketHeader:]
	n, err := parseNode(b)
	if err != nil {
		return err
	}
	if !n.isLeaf() {
		return fmt.Errorf("%w: an inline bucket is not a leaf", ErrCorrupt)
	}
	rec := &record{count: uint16(n.count)} //nolint:gosec // 16 bits in the file
	if r.leaf(rec, b, 0); rec.kind == kindBad {
		return rec.problem.of(0)
	}
	return r.walkLeaf(rec, depth+1, name, bounds{}, b)
}

// entriesOf checks a leaf of the key bucket.
func (r *resolver) entriesOf(rec *record) error {
	if rec.count == 0 {
		return nil
	}
	if rec.kind != kindRevLeaf {
		return fmt.Errorf("%w: page %d: a key of bucket %q is not a revision", ErrCorrupt, rec.id, BucketKey)
	}
	first := rec.first()
	p := rec.problem
	if r.entries > 0 && first.main == r.last.main && first.sub == r.last.sub {
		p = entryTwice
	}
	if p != fine {
		return fmt.Errorf("%w (revisions %d to %d)", p.of(uint64(rec.id)), first.main, rec.last().main)
	}
	r.last = rec.last()
	r.entries += int64(rec.count)
	r.leaves = append(r.leaves, rec)
	return nil
}
