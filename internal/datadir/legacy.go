package datadir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// LegacyEntries counts the requests of etcd 3.5's form among those that etcd would apply again when it starts: what the
// log holds after the newest snapshot of raft. 3.6 reads them. 3.7 does not: it panics at the first, at each start, until
// it is put back. A cluster that came from 3.5 has them until every member has written a snapshot of raft with 3.6, which
// it does each --snapshot-count entries. Etcd may run meanwhile: once there is none, there comes none with 3.6.
func LegacyEntries(ctx context.Context, dataDir string) (int, error) {
	l, err := list(dataDir)
	if err != nil {
		return 0, fmt.Errorf("inspect data dir %s: %w", dataDir, err)
	}
	snaps, err := snapshotNames(dataDir)
	if err != nil {
		return 0, fmt.Errorf("inspect data dir %s: %w", dataDir, err)
	}
	g := legacy{snaps: snaps}
	var crc uint32
	for _, name := range l.wals {
		s, err := openSegment(filepath.Join(WALDir(dataDir), name), crc)
		if err != nil {
			return 0, err
		}
		err = g.readSegment(ctx, s)
		crc = s.dec.LastCRC()
		s.close()
		// Etcd may be writing the last one at this moment.
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
	}
	n := 0
	for _, index := range g.at {
		if index > g.from {
			n++
		}
	}
	return n, nil
}

// snapshotNames are the files of raft's snapshots, which etcd starts from only where the log names them as well.
func snapshotNames(dataDir string) (map[string]bool, error) {
	entries, err := readDir(filepath.Dir(BackendPath(dataDir)))
	out := map[string]bool{}
	for _, e := range entries {
		if snapName.MatchString(e.Name()) {
			out[e.Name()] = true
		}
	}
	return out, err
}

type legacy struct {
	snaps map[string]bool
	from  uint64   // index of the newest snapshot
	at    []uint64 // indices of the entries of the old form
}

func (g *legacy) readSegment(ctx context.Context, s *segment) error {
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		rec, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := g.add(rec); err != nil {
			return damaged("%s: after byte %d: %v", s.path, s.dec.LastOffset(), err)
		}
	}
}

func (g *legacy) add(rec *walpb.Record) error {
	switch rec.GetType() {
	case wal.EntryType:
		var e raftpb.Entry
		if err := proto.Unmarshal(rec.GetData(), &e); err != nil {
			return err
		}
		if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 && isLegacy(e.GetData()) {
			g.at = append(g.at, e.GetIndex())
		}
	case wal.SnapshotType:
		var sn walpb.Snapshot
		if err := proto.Unmarshal(rec.GetData(), &sn); err != nil {
			return err
		}
		if g.snaps[fmt.Sprintf("%016x-%016x.snap", sn.GetTerm(), sn.GetIndex())] {
			g.from = max(g.from, sn.GetIndex())
		}
	}
	return nil
}

// v2Field is InternalRaftRequest's field of 3.5 that 3.7 has not any more.
const v2Field = 2

// isLegacy: 3.7 does not take it for a request. 3.5 publishes each start of a member with one that is none of the later form.
func isLegacy(data []byte) bool {
	var r etcdserverpb.InternalRaftRequest
	if proto.Unmarshal(data, &r) != nil || r.GetID() == 0 && r.GetHeader() == nil {
		return true
	}
	for b := r.ProtoReflect().GetUnknown(); len(b) > 0; {
		field, _, n := protowire.ConsumeField(b)
		if n < 0 || field == v2Field {
			return true
		}
		b = b[n:]
	}
	return false
}
