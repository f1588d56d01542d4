// Package datadir reads what an etcd data dir says of itself, and sets data dirs aside and puts new ones in place.
//
// Reading never changes, locks or repairs anything: it runs beside a live etcd and on a disk after a power loss.
// Setting aside never deletes (I1): what etcd owns, <data dir>/member, is renamed within the same data dir, because a
// data dir is often a mount point of its own and a rename can not leave it. What this project keeps there is below
// <data dir>/.ceo:
//
//	.ceo/archive/<entry>/record.json   why and when, written before the rename
//	.ceo/archive/<entry>/member        what was set aside
//	.ceo/staging/<id>/member           a data dir that is being built
//	.ceo/staging/<id>/staged.json      written last, when all of it was verified and flushed (I2)
//
// etcd itself ignores directories beside member.
package datadir

import "path/filepath"

const (
	memberName = "member"
	ownName    = ".ceo"
)

// MemberDir is the only part of a data dir that etcd owns.
func MemberDir(dataDir string) string { return filepath.Join(dataDir, memberName) }

// WALDir holds the write-ahead log.
func WALDir(dataDir string) string { return filepath.Join(dataDir, memberName, "wal") }

// BackendPath is the bbolt file with the keys.
func BackendPath(dataDir string) string { return filepath.Join(dataDir, memberName, "snap", "db") }
