package backend

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
)

// Member as the backend knows it.
type Member struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name,omitempty"` // empty: added, never started
	PeerURLs   []string `json:"peerURLs,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

// Facts are what a backend says of itself without a walk through its keys: a handful of pages.
type Facts struct {
	// Revision is the revision that an etcd started on this file would report (P15). It is not simply the last key:
	// after a compaction that swallowed trailing deletes, the compaction's revision is the truth. An empty store is at 1.
	Revision int64
	// LastKeyRevision is the main revision of the last entry of the key bucket, 0 when there is none. It differs from
	// Revision in the case just named.
	LastKeyRevision int64
	CompactRevision int64 // finished or scheduled, the greater
	// Compacting: a compaction was scheduled and has not finished; entries that it will remove are still there.
	Compacting      bool
	ConsistentIndex uint64
	Term            uint64 // of ConsistentIndex; 0 before etcd 3.5
	StorageVersion  string // major.minor; empty before etcd 3.6
	ClusterVersion  string
	Members         []Member // sorted by ID
	Removed         []uint64 // members that may never come back under this ID, sorted
}

// etcd's bucket and key names (server/storage/schema, 3.7.3).
const (
	BucketKey            = "key"
	BucketMeta           = "meta"
	BucketLease          = "lease"
	BucketAuth           = "auth"
	bucketCluster        = "cluster"
	bucketMembers        = "members"
	bucketMembersRemoved = "members_removed"

	keyConsistentIndex  = "consistent_index"
	keyTerm             = "term"
	keyScheduledCompact = "scheduledCompactRev"
	keyFinishedCompact  = "finishedCompactRev"
	keyStorageVersion   = "storageVersion"
	keyClusterVersion   = "clusterVersion"
)

// Read gathers the facts. A file without the key and meta buckets is a bbolt file of something else: ErrNotBackend.
func (f *File) Read() (Facts, error) {
	var s Facts
	if err := f.CheckExtent(); err != nil {
		return s, err
	}
	keys, okKeys, err := f.bucket(BucketKey)
	if err != nil {
		return s, err
	}
	meta, okMeta, err := f.bucket(BucketMeta)
	if err != nil {
		return s, err
	}
	if !okKeys || !okMeta {
		return s, notEtcd()
	}
	if err := meta.each(s.addMeta); err != nil {
		return s, err
	}
	last, _, ok, err := keys.last()
	if err != nil {
		return s, fmt.Errorf("bucket %q: %w", BucketKey, err)
	}
	if ok {
		rev, err := ParseRevision(last)
		if err != nil {
			return s, err
		}
		s.LastKeyRevision = rev.Main
	}
	if err := s.readMembership(f); err != nil {
		return s, err
	}
	s.settle()
	return s, nil
}

func notEtcd() error {
	return fmt.Errorf("%w of etcd: it has no %q and %q buckets", ErrNotBackend, BucketKey, BucketMeta)
}

// settle draws the conclusions when all has been added.
func (s *Facts) settle() {
	s.Revision = max(s.LastKeyRevision, s.CompactRevision, 1)
	// The keys are hex without leading zeros: their order is not the order of the numbers.
	sort.Slice(s.Members, func(i, j int) bool { return s.Members[i].ID < s.Members[j].ID })
	sort.Slice(s.Removed, func(i, j int) bool { return s.Removed[i] < s.Removed[j] })
}

func (s *Facts) addMeta(key, value []byte) error {
	switch string(key) {
	case keyConsistentIndex, keyTerm:
		if len(value) != 8 {
			return fmt.Errorf("%w: meta key %s has %d bytes", ErrCorrupt, key, len(value))
		}
		n := binary.BigEndian.Uint64(value)
		if string(key) == keyTerm {
			s.Term = n
		} else {
			s.ConsistentIndex = n
		}
	case keyScheduledCompact, keyFinishedCompact:
		rev, err := ParseRevision(value)
		if err != nil {
			return fmt.Errorf("meta key %s: %w", key, err)
		}
		// Keys come in order: the finished one, if there is one, has set CompactRevision before the scheduled one comes.
		if string(key) == keyScheduledCompact {
			s.Compacting = rev.Main > s.CompactRevision
		}
		s.CompactRevision = max(s.CompactRevision, rev.Main)
	case keyStorageVersion:
		s.StorageVersion = trimPatch(string(value))
	}
	return nil
}

// trimPatch: etcd stores 3.7.0 and means 3.7.
func trimPatch(v string) string {
	dots := 0
	for i, c := range v {
		if c == '.' {
			if dots++; dots == 2 {
				return v[:i]
			}
		}
	}
	return v
}

func (s *Facts) readMembership(f *File) error {
	for _, b := range []struct {
		name  string
		visit func(key, value []byte) error
	}{{bucketCluster, s.addCluster}, {bucketMembers, s.addMember}, {bucketMembersRemoved, s.addRemoved}} {
		t, ok, err := f.bucket(b.name)
		if err == nil && ok { // files of etcd before 3.5 may lack these buckets
			err = t.each(b.visit)
		}
		if err != nil {
			return fmt.Errorf("bucket %q: %w", b.name, err)
		}
	}
	return nil
}

func (s *Facts) addCluster(key, value []byte) error {
	if string(key) == keyClusterVersion {
		s.ClusterVersion = string(value)
	}
	return nil
}

func (s *Facts) addMember(key, value []byte) error {
	id, err := parseID(key)
	if err != nil {
		return err
	}
	m := Member{}
	if err := json.Unmarshal(value, &m); err != nil {
		return fmt.Errorf("%w: member %x: %w", ErrCorrupt, id, err)
	}
	m.ID = id
	s.Members = append(s.Members, m)
	return nil
}

func (s *Facts) addRemoved(key, _ []byte) error {
	id, err := parseID(key)
	s.Removed = append(s.Removed, id)
	return err
}

func parseID(key []byte) (uint64, error) {
	id, err := strconv.ParseUint(string(key), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: member id %q", ErrCorrupt, key)
	}
	return id, nil
}

// Revision is the key of an entry of the key bucket: etcd's (main, sub), and whether the entry is a deletion.
type Revision struct {
	Main, Sub int64
	Tombstone bool
}

// ParseRevision reads etcd's revision bytes: main (8, big-endian), '_', sub (8), and 't' for a deletion.
func ParseRevision(b []byte) (Revision, error) {
	if len(b) != 17 && (len(b) != 18 || b[17] != 't') || b[8] != '_' {
		return Revision{}, fmt.Errorf("%w: %x is not a revision", ErrCorrupt, b)
	}
	r := Revision{
		Main:      int64(binary.BigEndian.Uint64(b)),     //nolint:gosec // the sign is checked below
		Sub:       int64(binary.BigEndian.Uint64(b[9:])), //nolint:gosec // the sign is checked below
		Tombstone: len(b) == 18,
	}
	if r.Main < 0 || r.Sub < 0 {
		return Revision{}, fmt.Errorf("%w: negative revision %d_%d", ErrCorrupt, r.Main, r.Sub)
	}
	return r, nil
}
