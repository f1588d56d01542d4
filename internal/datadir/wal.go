package datadir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	// etcd's own record decoder: what etcd accepts, and what it takes for a torn tail rather than for damage, is
	// decided there. Its wal.OpenForRead is not used: it panics on a bad message and matches file names loosely.
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// readMetadata reads the head of every segment. Each segment repeats the metadata, so that segments of two members in
// one directory (P19, I5) show here.
func readMetadata(dir string, names []string) (IDs, error) {
	if err := checkSequence(names); err != nil {
		return IDs{}, err
	}
	var ids IDs
	for i, name := range names {
		got, err := readHead(filepath.Join(dir, name))
		if err != nil {
			return IDs{}, err
		}
		if i > 0 && got != ids {
			return IDs{}, damaged("WAL files %s and %s are of different members (cluster %x member %x, cluster %x member %x)",
				names[0], name, ids.ClusterID, ids.MemberID, got.ClusterID, got.MemberID)
		}
		ids = got
	}
	return ids, nil
}

// checkSequence: a hole means that a segment was lost.
func checkSequence(names []string) error {
	var prev uint64
	for i, name := range names {
		// The name's form was checked when it was listed: 16 hex digits are a uint64.
		seq, err := strconv.ParseUint(name[:16], 16, 64)
		if err != nil {
			return damaged("WAL file name %s", name)
		}
		if i > 0 && seq != prev+1 {
			return damaged("WAL files are missing between %s and %s", names[i-1], name)
		}
		prev = seq
	}
	return nil
}

// readHead reads the two first records of a segment: the checksum so far and the metadata. etcd writes them to a
// temporary file, flushes it and renames it, so a segment without them is damage and not a torn write.
func readHead(path string) (ids IDs, err error) {
	s, err := openSegment(path, 0)
	if err != nil {
		return ids, err
	}
	defer s.close()
	for range 2 {
		rec, err := s.next()
		if err != nil {
			return ids, headError(path, err)
		}
		if rec.GetType() == wal.MetadataType {
			return parseMetadata(path, rec.GetData())
		}
	}
	return ids, damaged("%s does not begin with a metadata record", path)
}

func headError(path string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("%s has no complete metadata record", path)
	}
	return err
}

func parseMetadata(path string, data []byte) (IDs, error) {
	var m etcdserverpb.Metadata
	if err := proto.Unmarshal(data, &m); err != nil {
		return IDs{}, damaged("%s: metadata record: %v", path, err)
	}
	if m.GetClusterID() == 0 || m.GetNodeID() == 0 {
		return IDs{}, damaged("%s: the metadata record names cluster %x, member %x", path, m.GetClusterID(), m.GetNodeID())
	}
	return IDs{ClusterID: m.GetClusterID(), MemberID: m.GetNodeID()}, nil
}

// segment is one WAL file being read, with etcd's rules for the checksum that runs through all of them.
type segment struct {
	path string
	f    *os.File
	dec  wal.Decoder
	rec  walpb.Record
}

func openSegment(path string, crc uint32) (*segment, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	s := &segment{path: path, f: f, dec: wal.NewDecoder(fileutil.NewFileReader(f))}
	s.dec.UpdateCRC(crc)
	return s, nil
}

func (s *segment) close() { _ = s.f.Close() }

// next gives io.EOF at the end, io.ErrUnexpectedEOF at a torn record, ErrDamaged for bad content, and the system's
// error when the disk fails.
func (s *segment) next() (*walpb.Record, error) {
	if err := s.dec.Decode(&s.rec); err != nil {
		var pathErr *os.PathError
		switch {
		case errors.As(err, &pathErr):
			return nil, fmt.Errorf("read %s: %w", s.path, err)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, err
		default:
			return nil, damaged("%s: after byte %d: %v", s.path, s.dec.LastOffset(), err)
		}
	}
	if s.rec.GetType() == wal.CrcType {
		// Zero: the reader starts here, there is nothing to compare with.
		if crc := s.dec.LastCRC(); crc != 0 && s.rec.Validate(crc) != nil {
			return nil, damaged("%s does not continue the WAL file before it (checksum)", s.path)
		}
		s.dec.UpdateCRC(s.rec.GetCrc())
	}
	return &s.rec, nil
}

type tail struct {
	term, commit        uint64
	lastTerm, lastIndex uint64
	torn                bool
}

// readTail reads all records. While etcd writes, the end may be seen half-written in a way that looks like damage;
// then a later look sees more, so damage counts when it is the same in each of a few looks.
func readTail(ctx context.Context, dir string, names []string) (tail, error) {
	const looks = 3
	var t tail
	var err error
	for range looks {
		t, err = readTailOnce(ctx, dir, names)
		if err == nil || !errors.Is(err, errDamaged) {
			break
		}
	}
	return t, err
}

func readTailOnce(ctx context.Context, dir string, names []string) (tail, error) {
	var t tail
	var crc uint32
	for i, name := range names {
		s, err := openSegment(filepath.Join(dir, name), crc)
		if err != nil {
			return t, err
		}
		err = t.readSegment(ctx, s)
		crc = s.dec.LastCRC()
		s.close()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			if i != len(names)-1 {
				return t, damaged("%s is incomplete and WAL files follow it", s.path)
			}
			t.torn = true
			err = nil
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func (t *tail) readSegment(ctx context.Context, s *segment) error {
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
		if err := t.add(rec); err != nil {
			return damaged("%s: after byte %d: %v", s.path, s.dec.LastOffset(), err)
		}
	}
}

func (t *tail) add(rec *walpb.Record) error {
	switch rec.GetType() {
	case wal.EntryType:
		var e raftpb.Entry
		if err := proto.Unmarshal(rec.GetData(), &e); err != nil {
			return err
		}
		// Not the greatest but the last one: a new leader may have replaced entries.
		t.lastTerm, t.lastIndex = e.GetTerm(), e.GetIndex()
	case wal.StateType:
		var h raftpb.HardState
		if err := proto.Unmarshal(rec.GetData(), &h); err != nil {
			return err
		}
		t.term, t.commit = h.GetTerm(), h.GetCommit()
	case wal.SnapshotType:
		var sn walpb.Snapshot
		if err := proto.Unmarshal(rec.GetData(), &sn); err != nil {
			return err
		}
		// A snapshot from the leader replaces a log that ends before it.
		if sn.GetIndex() > t.lastIndex {
			t.lastTerm, t.lastIndex = sn.GetTerm(), sn.GetIndex()
		}
	case wal.MetadataType, wal.CrcType:
	default:
		return fmt.Errorf("unknown record type %d", rec.GetType())
	}
	return nil
}
