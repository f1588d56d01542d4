// Package snapshot takes etcd snapshots and tells good ones from bad ones.
//
// A snapshot file is the backend (whole pages) followed by the SHA-256 of it. Everything said about a snapshot is read
// from the file itself, never from what a server said beside it (P15), and it is read back from disk before a snapshot
// is called good (P14, I17). Verifying needs no etcd, no lock and writes nothing; no content of a file makes it panic.
package snapshot

import (
	"errors"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// What can be wrong with a snapshot file. Each failure of Verify and Inspect wraps one of them, or is an error of
// reading the file.
var (
	ErrNotSnapshot  = errors.New("not an etcd snapshot")
	ErrTruncated    = errors.New("the snapshot is cut short")
	ErrNoHash       = errors.New("the snapshot has no hash at its end, as a copied database file has none")
	ErrHashMismatch = errors.New("the snapshot's content does not match its hash")
	ErrCorrupt      = errors.New("the snapshot's content is damaged")
)

// SkipHashFlag is the named consent to take a file without a hash; ErrNoHash's message names it.
const SkipHashFlag = "--skip-hash-check"

// Info is what a snapshot says of itself.
type Info struct {
	Path        string `json:"path"`
	Size        int64  `json:"size"` // bytes of the file
	HashPresent bool   `json:"hashPresent"`
	Hash        string `json:"hash,omitempty"`   // hex SHA-256 of the backend, the one at the file's end; of Verify only
	SHA256      string `json:"sha256,omitempty"` // hex SHA-256 of the whole file: a transfer's checksum; of Verify only

	Revision        int64 `json:"revision"` // of the MVCC store in it
	CompactRevision int64 `json:"compactRevision,omitempty"`
	// LastKeyRevision is of the last entry; below Revision when a compaction swallowed deletes at the end.
	LastKeyRevision int64  `json:"lastKeyRevision,omitempty"`
	ConsistentIndex uint64 `json:"consistentIndex,omitempty"`
	Term            uint64 `json:"term,omitempty"`
	StorageVersion  string `json:"storageVersion,omitempty"` // major.minor; empty before etcd 3.6
	ClusterVersion  string `json:"clusterVersion,omitempty"`

	Members []backend.Member `json:"members,omitempty"` // of the cluster that it was taken from

	// Of Verify only.
	TotalKeys int64 `json:"totalKeys,omitempty"` // entries: every kept revision of every key, deletions included
	LiveKeys  int64 `json:"liveKeys,omitempty"`  // keys that exist at Revision (etcdutl calls this total keys)
	Leases    int64 `json:"leases,omitempty"`
	InUse     int64 `json:"inUse,omitempty"` // bytes of pages in use
}
