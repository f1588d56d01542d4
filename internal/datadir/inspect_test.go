package datadir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal" // makes the WALs that the tests read
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
)

var (
	ours   = datadir.IDs{ClusterID: 0xc1, MemberID: 0xa1}
	theirs = datadir.IDs{ClusterID: 0xc2, MemberID: 0xa2}
)

// writeWAL makes a WAL of entries 1..n at term 3, over several segments.
func writeWAL(t testing.TB, dir string, ids datadir.IDs, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	old := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = 32 << 10
	defer func() { wal.SegmentSizeBytes = old }()
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: proto.Uint64(ids.MemberID), ClusterID: proto.Uint64(ids.ClusterID)})
	if err != nil {
		t.Fatal(err)
	}
	w, err := wal.Create(nil, dir, metadata)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		e := &raftpb.Entry{
			Type: raftpb.EntryNormal.Enum(), Term: proto.Uint64(3), Index: proto.Uint64(uint64(i)), Data: []byte(strings.Repeat("x", 1000)),
		}
		h := &raftpb.HardState{Term: proto.Uint64(4), Vote: proto.Uint64(1), Commit: proto.Uint64(uint64(i - 1))}
		if err := w.Save(h, []*raftpb.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	if n > 10 {
		if err := w.SaveSnapshot(&walpb.Snapshot{Index: proto.Uint64(10), Term: proto.Uint64(3), ConfState: &raftpb.ConfState{Voters: []uint64{1}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeMember(t testing.TB, dataDir string, ids datadir.IDs) {
	t.Helper()
	writeWAL(t, datadir.WALDir(dataDir), ids, 100)
	writeDB(t, dataDir, ids, 99)
}

func writeDB(t testing.TB, dataDir string, ids datadir.IDs, index uint64) {
	t.Helper()
	path := datadir.BackendPath(dataDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	etcdtest.Backend{
		Entries: etcdtest.Puts(2, 98, 100), ConsistentIndex: index, Term: 3, StorageVersion: "3.7.0",
		Members: []backend.Member{{ID: ids.MemberID, Name: "cp-1", PeerURLs: []string{"https://10.0.0.1:2380"}}}, Removed: []uint64{0x9},
	}.Write(t, path)
}

func walFiles(t testing.TB, dataDir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(datadir.WALDir(dataDir), "*.wal"))
	if err != nil || len(files) < 3 {
		t.Fatalf("the test wants some segments: %v, %v", files, err)
	}
	return files
}

func edit(t testing.TB, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

var everything = datadir.InspectOptions{WALTail: true, WalkBackend: true}

func TestInspectPresent(t *testing.T) {
	dir := t.TempDir()
	writeMember(t, dir, ours)
	got, err := datadir.Inspect(t.Context(), dir, everything)
	if err != nil {
		t.Fatal(err)
	}
	want := datadir.Identity{
		State: datadir.Present, IDs: ours, WALRead: true, Term: 4, CommitIndex: 99, LastTerm: 3, LastIndex: 100,
		BackendRead: true, ConsistentIndex: 99, Revision: 99, Members: got.Members, Removed: []uint64{9}, StorageVersion: "3.7",
		DBSize: got.DBSize, DBInUse: got.DBInUse,
	}
	if !reflect.DeepEqual(got, want) || len(got.Members) != 1 || got.Members[0].ID != ours.MemberID || got.DBInUse <= 0 || got.DBSize < got.DBInUse {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	ids, err := datadir.ReadIDs(dir)
	if err != nil || ids != ours {
		t.Fatalf("%+v, %v", ids, err)
	}
}

func TestInspectStates(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for _, row := range []struct {
		name  string
		make  func(t *testing.T, dir string)
		state datadir.State
		says  string
	}{
		{"no such directory", func(t *testing.T, dir string) { remove(t, dir) }, datadir.None, "no WAL"},
		{"empty", func(*testing.T, string) {}, datadir.None, ""},
		{"empty directories", func(t *testing.T, dir string) {
			mkdir(t, datadir.WALDir(dir))
			mkdir(t, filepath.Dir(datadir.BackendPath(dir)))
		}, datadir.None, ""},
		{"a first start that did not get to its WAL's rename", func(t *testing.T, dir string) {
			mkdir(t, datadir.WALDir(dir)+".tmp")
		}, datadir.None, ""},
		{"WAL without backend", func(t *testing.T, dir string) {
			writeWAL(t, datadir.WALDir(dir), ours, 5)
		}, datadir.Damaged, "no backend"},
		{"backend without WAL", func(t *testing.T, dir string) { writeDB(t, dir, ours, 9) }, datadir.Damaged, "no WAL file"},
		{"first WAL file empty", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[0], func([]byte) []byte { return nil })
		}, datadir.Damaged, "no complete metadata"},
		{"metadata torn", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[0], func(b []byte) []byte { return b[:30] })
		}, datadir.Damaged, "no complete metadata"},
		{"metadata flipped", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[0], flip(50))
		}, datadir.Damaged, ".wal"},
		{"zeros for a WAL file", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[1], func(b []byte) []byte { return make([]byte, len(b)) })
		}, datadir.Damaged, "no complete metadata"},
		{"a WAL file lost (P19)", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			remove(t, walFiles(t, dir)[1])
		}, datadir.Damaged, "missing between"},
		{"WAL files of two members (I5)", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			other := t.TempDir()
			writeMember(t, other, theirs)
			edit(t, walFiles(t, dir)[1], func([]byte) []byte { return read(t, walFiles(t, other)[1]) })
		}, datadir.Damaged, "different members"},
		{"flipped bit in the middle of the WAL", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[0], flip(12_000))
		}, datadir.Damaged, "after byte"},
		{"middle WAL file cut", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, walFiles(t, dir)[1], func(b []byte) []byte { return b[:12_345] })
		}, datadir.Damaged, "WAL files follow"},
		{"torn tail, as after a power loss", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			files := walFiles(t, dir)
			edit(t, files[len(files)-1], func(b []byte) []byte { return tear(b) })
		}, datadir.Present, ""},
		{"WAL older than the backend", func(t *testing.T, dir string) {
			writeWAL(t, datadir.WALDir(dir), ours, 100)
			writeDB(t, dir, ours, 5000)
		}, datadir.Damaged, "5000"},
		{"backend empty", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, datadir.BackendPath(dir), func([]byte) []byte { return nil })
		}, datadir.Damaged, "backend"},
		{"backend cut", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, datadir.BackendPath(dir), func(b []byte) []byte { return b[:16384] })
		}, datadir.Damaged, "cut short"},
		{"backend is something else", func(t *testing.T, dir string) {
			writeMember(t, dir, ours)
			edit(t, datadir.BackendPath(dir), func([]byte) []byte { return []byte(strings.Repeat("hello\n", 9999)) })
		}, datadir.Damaged, "not a bbolt"},
		{"a directory for the backend", func(t *testing.T, dir string) {
			writeWAL(t, datadir.WALDir(dir), ours, 5)
			mkdir(t, datadir.BackendPath(dir))
		}, datadir.Damaged, "regular"},
		{"a file for the member directory", func(t *testing.T, dir string) {
			edit(t, touch(t, datadir.MemberDir(dir)), func(b []byte) []byte { return b })
		}, datadir.Damaged, "not a directory"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			mkdir(t, dir)
			row.make(t, dir)
			before := tree(t, dir)
			got, err := datadir.Inspect(t.Context(), dir, everything)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != row.state || !strings.Contains(got.Why, row.says) || (got.State == datadir.Present) != (got.Why == "") {
				t.Fatalf("%s: %q; want %s with %q", got.State, got.Why, row.state, row.says)
			}
			if strings.Contains(row.name, "torn tail") && !got.TornTail {
				t.Fatalf("not seen as torn: %+v", got)
			}
			if after := tree(t, dir); !reflect.DeepEqual(before, after) {
				t.Fatalf("changed by looking: %v, %v", before, after)
			}
		})
	}
}

// tear cuts the last record as a power loss does: the sectors after some point read as zeros.
func tear(b []byte) []byte {
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	at := (end - 700) / 512 * 512
	for i := at; i < len(b); i++ {
		b[i] = 0
	}
	return b
}

func TestInspectNamesStrays(t *testing.T) {
	dir := t.TempDir()
	writeMember(t, dir, ours)
	for _, name := range []string{
		"backup.db", ".ceo/archive/x/record.json", "lost+found/x", "member/old/x", "member/wal/notes.wal", "member/wal/0.tmp",
		"member/wal/copy of 0000000000000000-0000000000000000.wal", "member/snap/db.bak", "member/snap/0000000000000001-0000000000000002.snap",
	} {
		path := filepath.Join(dir, name)
		mkdir(t, filepath.Dir(path))
		touch(t, path)
	}
	got, err := datadir.Inspect(t.Context(), dir, everything)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"backup.db", "member/old", "member/wal/copy of 0000000000000000-0000000000000000.wal", "member/wal/notes.wal", "member/snap/db.bak",
	}
	if got.State != datadir.Present || !reflect.DeepEqual(got.Strays, want) {
		t.Fatalf("P19: %s, strays %q, want %q", got.State, got.Strays, want)
	}
}

// TestInspectUnreadable: what can not be read is an error, not damage (I23).
func TestInspectUnreadable(t *testing.T) {
	dir := t.TempDir()
	writeMember(t, dir, ours)
	loop := walFiles(t, dir)[0]
	remove(t, loop)
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if got, err := datadir.Inspect(t.Context(), dir, everything); err == nil || got.State != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := datadir.ReadIDs(dir); err == nil || errors.Is(err, datadir.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	if _, err := datadir.ReadIDs(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestInspectBlank(t *testing.T) {
	dir := t.TempDir()
	path := datadir.BackendPath(dir)
	mkdir(t, filepath.Dir(path))
	etcdtest.Backend{}.Write(t, path)
	got, err := datadir.Inspect(t.Context(), dir, everything)
	if err != nil || got.State != datadir.Damaged || !got.Blank {
		t.Fatalf("%+v, %v", got, err)
	}
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func touch(t testing.TB, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree lists everything below dir with size and time of change.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		all = append(all, path+" "+info.Mode().String()+" "+info.ModTime().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
