package backend

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// Entry is what the value of an entry of the key bucket says of itself: etcd's mvccpb.KeyValue without its value.
type Entry struct {
	Key                  []byte // a part of what was parsed; empty in the mark that a restore with a bump leaves
	Create, Mod, Version int64
	hasValue             bool
}

// KeyValue's tags (etcd api/v3/mvccpb/kv.proto): field number and wire type (0: varint, 2: bytes) in one byte.
const (
	tagKey     = 1<<3 | 2
	tagCreate  = 2 << 3
	tagMod     = 3 << 3
	tagVersion = 4 << 3
	tagValue   = 5<<3 | 2
	tagLease   = 6 << 3
)

// ParseEntry takes an mvccpb.KeyValue apart without copying it. All fields are walked, so a message that does not parse
// is found (false).
func ParseEntry(b []byte) (Entry, bool) {
	var e Entry
	for len(b) > 0 {
		switch tag := b[0]; tag {
		case tagKey, tagValue:
			n, size := binary.Uvarint(b[1:])
			if size <= 0 || n > uint64(len(b)-1-size) { //nolint:gosec // not negative: Uvarint read size bytes of it
				return e, false
			}
			field := b[1+size : 1+size+int(n)] //nolint:gosec // n is at most len(b)
			b = b[1+size+int(n):]              //nolint:gosec // as above
			if tag == tagKey {
				e.Key = field
			} else {
				e.hasValue = e.hasValue || len(field) > 0
			}
		case tagCreate, tagMod, tagVersion, tagLease:
			n, size := binary.Uvarint(b[1:])
			if size <= 0 {
				return e, false
			}
			b = b[1+size:]
			switch tag {
			case tagCreate:
				e.Create = int64(n) //nolint:gosec // the sign is looked at by those who use it
			case tagMod:
				e.Mod = int64(n) //nolint:gosec // as above
			case tagVersion:
				e.Version = int64(n) //nolint:gosec // as above
			}
		default: // a field that a later etcd added
			num, typ, n := protowire.ConsumeTag(b)
			if n < 0 {
				return e, false
			}
			b = b[n:]
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return e, false
			}
			b = b[n:]
		}
	}
	return e, true
}

// mismatch compares an entry with the revision that is its key. etcd writes a deletion with its key only; a put says
// its own revision, the one that created the key, which is the same one where the version is 1.
func (e Entry) mismatch(main int64, tombstone bool) problem {
	switch {
	case len(e.Key) == 0:
		if e.Create != 0 || e.Mod != 0 || e.Version != 0 || e.hasValue {
			return entryNoKey
		}
		return fine
	case tombstone:
		if e.Mod != 0 && e.Mod != main {
			return entryMod
		}
		return fine
	case e.Mod != main:
		return entryMod
	case e.Create < 1 || e.Create > e.Mod:
		return entryCreate
	case e.Version < 1 || e.Version == 1 && e.Create != e.Mod:
		return entryVersion
	}
	return fine
}
