package restore

import (
	"encoding/json"
	"fmt"
	"os"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	// The snapshot file beside the backend, with its own checksum.
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	// The member list in the form that the snapshot file still has it in.
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	// The write-ahead log: framing, running checksums and preallocation are decided there.
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	// The entries that add the members.
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"
)

// firstTerm of the new cluster's log. The entries that add its members are of it, and the backend's state is as of the
// last of them.
const firstTerm = 1

// quiet is what etcd's packages log to: they return what matters, or panic. Fatal would even end this process.
func quiet() *zap.Logger { return zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic)) }

// recovered turns a panic into an error: etcd's packages panic where a disk fails, and bbolt where a page is damaged.
func recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: gave up: %v", what, r)
	}
}

// writeLog makes the WAL of a cluster in which nothing has happened but that its members were added, and the snapshot
// file for the raft state after that. snapDir must exist, walDir must not. Everything in both is flushed, and so are
// the directories; their parents' entries for them are not.
func writeLog(c *membership.RaftCluster, self *membership.Member, walDir, snapDir string) (err error) {
	defer recovered("write the WAL in "+walDir, &err)
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: new(uint64(self.ID)), ClusterID: new(uint64(c.ID()))})
	if err != nil {
		return err
	}
	entries, voters, err := firstEntries(c)
	if err != nil {
		return err
	}
	index, term := uint64(len(entries)), uint64(firstTerm)
	w, err := wal.Create(quiet(), walDir, metadata)
	if err != nil {
		return fmt.Errorf("create WAL %s: %w", walDir, err)
	}
	defer func() {
		if closeErr := w.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close WAL %s: %w", walDir, closeErr)
		}
	}()
	if err := w.Save(&raftpb.HardState{Term: &term, Vote: &voters[0], Commit: &index}, entries); err != nil {
		return fmt.Errorf("write WAL %s: %w", walDir, err)
	}
	conf := &raftpb.ConfState{Voters: voters}
	members, err := memberStore(c)
	if err != nil {
		return err
	}
	err = snap.New(quiet(), snapDir).SaveSnap(&raftpb.Snapshot{
		Data:     members,
		Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: conf},
	})
	if err != nil {
		return fmt.Errorf("write snapshot file in %s: %w", snapDir, err)
	}
	// After the file that it names is durable, as etcd does: a WAL must not name a snapshot that is not there.
	if err := w.SaveSnapshot(&walpb.Snapshot{Index: &index, Term: &term, ConfState: conf}); err != nil {
		return fmt.Errorf("write WAL %s: %w", walDir, err)
	}
	return nil
}

// firstEntries add the members one by one, in the order of their ids, as every member of a new cluster has them.
func firstEntries(c *membership.RaftCluster) (entries []*raftpb.Entry, voters []uint64, err error) {
	for i, id := range c.MemberIDs() {
		member, err := json.Marshal(c.Member(id))
		if err != nil {
			return nil, nil, err
		}
		data, err := proto.Marshal(&raftpb.ConfChange{
			Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(uint64(id)), Context: member,
		})
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, &raftpb.Entry{
			Type: raftpb.EntryConfChange.Enum(), Term: new(uint64(firstTerm)), Index: new(uint64(i) + 1), Data: data, //nolint:gosec // a count
		})
		voters = append(voters, uint64(id))
	}
	return entries, voters, nil
}

func memberStore(c *membership.RaftCluster) ([]byte, error) {
	// etcd's two name spaces: the cluster's own and, unused since v3, the keys'.
	st := v2store.New("/0", "/1")
	c.Store(st)
	return st.SaveNoCopy()
}

// mkdir makes a directory as etcd does.
func mkdir(dir string) error { return os.MkdirAll(dir, 0o700) }
