package snapshot

import (
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
