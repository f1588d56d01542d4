package snapshot

import (
	"context"
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protowire"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

func (f *file) facts() (*backend.File, backend.Facts, error) {
	file, err := backend.Open(f.f, f.dbSize)
	if err != nil {
		return nil, backend.Facts{}, wrapped(err)
	}
	facts, err := file.Read()
	return file, facts, wrapped(err)
}

func (i *Info) fill(f backend.Facts) {
	i.Revision = f.Revision
	i.LastKeyRevision = f.LastKeyRevision
	i.CompactRevision = f.CompactRevision
	i.ConsistentIndex = f.ConsistentIndex
	i.Term = f.Term
	i.StorageVersion = f.StorageVersion
	i.ClusterVersion = f.ClusterVersion
	i.Members = f.Members
}

// content reads every page and every entry.
func (f *file) content(ctx context.Context, info *Info) error {
	file, facts, err := f.facts()
	if err != nil {
		return err
	}
	info.fill(facts)
	c := counter{live: make(map[uint64]struct{}), seed: maphash.MakeSeed()}
	pages, err := file.Walk(ctx, c.visit)
	if err != nil {
		return wrapped(err)
	}
	info.TotalKeys, info.LiveKeys, info.Leases = c.total, int64(len(c.live)), c.leases
	info.InUse = pages.InUse * file.PageSize()
	return nil
}

type counter struct {
	total, leases int64
	// live holds 64-bit hashes, not keys: some tens of bytes a key whatever its length. Two of a million keys share
	// one with a chance of one in 10^7, which makes a count wrong by one and nothing else.
	live map[uint64]struct{}
	seed maphash.Seed
}

func (c *counter) visit(bucket string, key, value []byte) error {
	switch bucket {
	case backend.BucketLease:
		c.leases++
	case backend.BucketKey:
		c.total++
		rev, err := backend.ParseRevision(key)
		if err != nil {
			return err
		}
		name, mod, err := keyValue(value)
		if err != nil {
			return fmt.Errorf("%w: entry at revision %d: %w", backend.ErrCorrupt, rev.Main, err)
		}
		if mod != 0 && mod != uint64(rev.Main) { //nolint:gosec // not negative, by ParseRevision
			return fmt.Errorf("%w: the entry at revision %d says it is of %d", backend.ErrCorrupt, rev.Main, mod)
		}
		if len(name) == 0 {
			return nil // the mark of an earlier restore's bump: an entry of no key
		}
		h := maphash.Bytes(c.seed, name)
		if rev.Tombstone {
			delete(c.live, h)
		} else {
			c.live[h] = struct{}{}
		}
	}
	return nil
}

// keyValue takes an mvccpb.KeyValue apart without copying it: key is field 1, mod_revision field 3. All fields are
// walked, so a message that does not parse is found.
func keyValue(b []byte) (key []byte, mod uint64, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.BytesType:
			key, n = protowire.ConsumeBytes(b)
		case num == 3 && typ == protowire.VarintType:
			mod, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return key, mod, nil
}
