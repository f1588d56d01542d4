package backend

import (
	"bytes"
	"encoding/binary"
)

// parse makes the record of a page, b is all of it.
func (s *Stream) parse(r *record, b []byte) {
	switch binary.LittleEndian.Uint16(b[8:]) {
	case flagBranch:
		s.branch(r, b)
	case flagLeaf:
		s.leaf(r, b, int(s.meta.pageSize))
	case flagFreelist:
		s.readFreelist(r, b)
	}
}

// room: what is kept of the structure may cost a sixteenth of the file, a multiple of what any etcd makes.
func (s *Stream) room() int64 { return 32<<20 + s.pos/16 }

// elements goes over a page's elements. bbolt writes them and their data without gaps (Inodes.WriteInodeToPage), so
// a changed position or length shows. step gets the i-th key, value, and what the first half of the element says.
func elements(b []byte, count int, leaf bool, step func(i int, key, value []byte, head []byte) problem) (end int, p problem) {
	end = headerSize + count*elemSize
	if end > len(b) {
		return 0, elementsOutside
	}
	le := binary.LittleEndian
	for i := range count {
		off := headerSize + i*elemSize
		e := b[off : off+elemSize]
		var pos, ksize, vsize uint32
		if leaf {
			if le.Uint32(e) > leafIsBucket {
				return 0, elementFlags
			}
			pos, ksize, vsize = le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
		} else {
			pos, ksize = le.Uint32(e), le.Uint32(e[4:])
		}
		start := uint64(off) + uint64(pos) //nolint:gosec // off is a small positive offset in a page
		switch {
		case start+uint64(ksize)+uint64(vsize) > uint64(len(b)):
			return 0, dataOutside
		case start != uint64(end): //nolint:gosec // not negative
			return 0, dataGap
		case ksize == 0:
			return 0, emptyKey // bbolt panics on one
		}
		k := end + int(ksize)
		v := k + int(vsize)
		if p := step(i, b[end:k], b[k:v], e); p != fine {
			return 0, p
		}
		end = v
	}
	return end, fine
}

// fills: bbolt allocates as many pages as the content needs; a bolt of old took one more when it fitted exactly.
func fills(end, pageSize int, overflow uint16) bool {
	return overflow == 0 && end <= pageSize || end > 0 && (end-1)/pageSize == int(overflow) || end/pageSize == int(overflow)
}

func (s *Stream) branch(r *record, b []byte) {
	if r.count == 0 {
		r.bad(emptyBranch)
		return
	}
	kind := kindRevBranch
	end, p := s.revBranch(b, int(r.count))
	if p == notRevision {
		kind = kindBranch
		end, p = s.keyBranch(b, int(r.count))
	}
	switch {
	case p != fine:
		r.bad(p)
	case !fills(end, int(s.meta.pageSize), r.overflow):
		r.bad(extentOff)
	case s.keys.total+int64(len(s.packed)) > s.room():
		r.bad(arenaFull)
	default:
		r.kind, r.a = kind, s.keys.put(s.packed)
	}
}

// notRevision stops a reading as revisions; the page is read anew as one of other keys.
const notRevision problem = 0xFF

func (s *Stream) childOf(e []byte) (uint64, bool) {
	id := binary.LittleEndian.Uint64(e[8:])
	return id, id >= 2 && id < s.limit()
}

func (s *Stream) revBranch(b []byte, count int) (int, problem) {
	s.packed = s.packed[:0]
	var prev revKey
	var prevID uint64
	return elements(b, count, false, func(i int, key, _, e []byte) problem {
		k, ok := parseRevKey(key)
		if !ok {
			return notRevision
		}
		id, ok := s.childOf(e)
		switch {
		case !ok:
			return childRange
		case i > 0 && k.compare(prev) <= 0:
			return keyOrder
		}
		sub := uint64(k.sub) << 1
		if k.tombstone {
			sub |= 1
		}
		s.packed = binary.AppendUvarint(s.packed, k.main-prev.main)
		s.packed = binary.AppendUvarint(s.packed, sub)
		s.packed = binary.AppendVarint(s.packed, int64(id-prevID)) //nolint:gosec // both below 2^32
		prev, prevID = k, id
		return fine
	})
}

func (s *Stream) keyBranch(b []byte, count int) (int, problem) {
	s.packed = s.packed[:0]
	var prev []byte
	var prevID uint64
	return elements(b, count, false, func(i int, key, _, e []byte) problem {
		id, ok := s.childOf(e)
		switch {
		case !ok:
			return childRange
		case i > 0 && bytes.Compare(key, prev) <= 0:
			return keyOrder
		}
		s.packed = appendKey(s.packed, key)
		s.packed = binary.AppendVarint(s.packed, int64(id-prevID)) //nolint:gosec // both below 2^32
		prev, prevID = key, id
		return fine
	})
}

// leaf of a page, or of a bucket within its parent's value where pageSize is 0.
func (s *Stream) leaf(r *record, b []byte, pageSize int) {
	if uint64(r.id) == s.meta.root {
		s.rootPage = bytes.Clone(b)
	}
	end, p := s.revLeaf(r, b)
	if p == notRevision {
		end, p = s.keyLeaf(r, b)
	}
	switch {
	case p != fine:
		r.bad(p)
	case pageSize != 0 && !fills(end, pageSize, r.overflow):
		r.bad(extentOff)
	}
}

func (s *Stream) revLeaf(r *record, b []byte) (int, problem) {
	if r.count == 0 {
		return 0, notRevision
	}
	r.kind, r.extra, r.problem = kindRevLeaf, uint32(s.marks.n), fine //nolint:gosec // below maxMarks
	var prev revKey
	end, p := elements(b, int(r.count), true, func(i int, key, value, e []byte) problem {
		k, ok := parseRevKey(key)
		if !ok || e[0] != 0 {
			return notRevision
		}
		if i == 0 {
			r.setFirst(k)
		} else if k.compare(prev) <= 0 {
			return keyOrder
		} else if k.main == prev.main && k.sub == prev.sub {
			r.problem = entryTwice
		}
		prev = k
		entry, ok := ParseEntry(value)
		if !ok {
			r.problem = entryValue
		} else if p := entry.mismatch(int64(k.main), k.tombstone); p != fine { //nolint:gosec // not negative, by parseRevKey
			r.problem = p
		}
		s.marks.add(entry.Key, k.tombstone)
		return fine
	})
	if p != fine {
		s.marks.cut(r.extra)
		r.flags, r.extra = 0, 0
		return 0, p
	}
	r.setLast(prev)
	return end, fine
}

func (s *Stream) keyLeaf(r *record, b []byte) (int, problem) {
	r.kind, r.problem = kindLeaf, fine
	var first, last []byte
	wanted := false
	end, p := elements(b, int(r.count), true, func(i int, key, value, e []byte) problem {
		if i == 0 {
			first = key
		} else if bytes.Compare(key, last) <= 0 {
			return keyOrder
		}
		last = key
		if e[0] != 0 {
			r.flags |= hasBuckets
		} else {
			r.flags |= hasData
		}
		wanted = wanted || e[0] != 0 || isFact(key, value)
		return fine
	})
	if p != fine {
		return 0, p
	}
	if r.count == 0 {
		return end, fine
	}
	s.packed = appendKey(appendKey(s.packed[:0], first), last)
	if s.keys.total+int64(len(s.packed)) > s.room() {
		return 0, arenaFull
	}
	r.a = s.keys.put(s.packed)
	if wanted && r.id != 0 { // 0: within its parent's value, which is at hand
		s.keep(r, b[:end])
	}
	return end, fine
}

// keep puts a page's content aside.
func (s *Stream) keep(r *record, b []byte) {
	switch {
	case uint64(r.id) == s.meta.root:
		if s.settled = holdsSmallBuckets(b); s.settled { // rootPage has it
			s.shelf = shelf{}
		}
	case s.settled:
		r.flags |= contentLost
	case s.shelf.held()+int64(len(b)) > s.shelfRoom():
		r.flags |= contentLost
	default:
		at, err := s.shelf.put(b)
		if err != nil {
			r.flags |= contentLost
			return
		}
		r.flags, r.extra = r.flags|hasContent, at
	}
}

func (s *Stream) shelfRoom() int64 { return 32<<20 + s.pos/64 }

// holdsSmallBuckets: all that facts are read from lies in this page.
func holdsSmallBuckets(b []byte) bool {
	n, _ := parseNode(b)
	all := true
	_, p := elements(b, n.count, true, func(_ int, key, value, e []byte) problem {
		switch string(key) {
		case BucketMeta, bucketCluster, bucketMembers, bucketMembersRemoved:
			if e[0] != 0 && (len(value) < bucketHeader || binary.LittleEndian.Uint64(value) != 0) {
				all = false
			}
		}
		return fine
	})
	return all && p == fine
}

// isFact: an element that Facts may come from. All others need not be kept.
func isFact(key, value []byte) bool {
	switch string(key) {
	case keyConsistentIndex, keyTerm, keyScheduledCompact, keyFinishedCompact, keyStorageVersion, keyClusterVersion:
		return true
	}
	if len(key) > 16 || len(value) > 16 && value[0] != '{' {
		return false
	}
	for _, c := range key {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (s *Stream) readFreelist(r *record, b []byte) {
	ids, ok := freelistIDs(b, int(r.count))
	if !ok {
		r.bad(badFreelist)
		return
	}
	r.kind = kindFreelist
	s.freelist = make([]uint64, len(ids)/8)
	for i := range s.freelist {
		s.freelist[i] = binary.LittleEndian.Uint64(ids[i*8:])
	}
}
