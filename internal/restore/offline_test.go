package restore_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// tree is every path below dir, with what a restore leaves to be seen.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		paths = append(paths, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func sameTree(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := strings.Join(tree(t, dir), " "); got != strings.Join(want, " ") {
		t.Fatalf("%s has: %s\nwant: %s", dir, got, strings.Join(want, " "))
	}
}

var wholeDir = []string{
	".", "member", "member/snap", "member/snap/0000000000000001-0000000000000001.snap", "member/snap/db", "member/wal",
	"member/wal/0000000000000000-0000000000000000.wal",
}

func offlineParams(t testing.TB, b etcdtest.Backend) restore.OfflineParams {
	t.Helper()
	p := params(t, b)
	return restore.OfflineParams{Source: restore.Source{Path: p.Snapshot}, DataDir: filepath.Join(filepath.Dir(p.Snapshot), "new", "data")}
}

func inspect(t testing.TB, dir string) datadir.Identity {
	t.Helper()
	id, err := datadir.Inspect(t.Context(), dir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOffline(t *testing.T) {
	zero, five := uint64(0), uint64(5)
	yes := true
	for _, row := range []struct {
		name                string
		change              func(*restore.OfflineParams)
		revision, compacted int64
		members             int
	}{
		{"defaults", func(*restore.OfflineParams) {}, 400 + restore.Margin, 400 + restore.Margin, 1},
		{"no bump", func(p *restore.OfflineParams) { p.BumpRevision = &zero }, 400, 20, 1},
		{"a bump of its own", func(p *restore.OfflineParams) { p.BumpRevision, p.MarkCompacted = &five, &yes }, 405, 405, 1},
		{"three members", func(p *restore.OfflineParams) {
			p.Name, p.Token, p.InitialCluster = "b", "fresh", "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380"
		}, 400 + restore.Margin, 400 + restore.Margin, 3},
		{"two peer URLs", func(p *restore.OfflineParams) {
			p.Name, p.PeerURLs = "n", []string{"http://10.0.0.2:2380", "http://10.0.0.1:2380"}
		}, 400 + restore.Margin, 400 + restore.Margin, 1},
		{"an empty data dir", func(p *restore.OfflineParams) {
			if err := os.MkdirAll(filepath.Join(p.DataDir, "lost+found"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(p.DataDir, "lost+found")); err != nil {
				t.Fatal(err)
			}
		}, 400 + restore.Margin, 400 + restore.Margin, 1},
		{"a stream", func(p *restore.OfflineParams) {
			path := p.Source.Path
			p.Source = restore.Source{Label: "s3://x", Open: func(context.Context) (io.ReadCloser, error) { return os.Open(path) }}
		}, 400 + restore.Margin, 400 + restore.Margin, 1},
	} {
		for _, exchange := range []bool{true, false} {
			t.Run(row.name, func(t *testing.T) {
				if !exchange {
					defer restore.WithoutExchange()()
				}
				p := offlineParams(t, threeMembers())
				row.change(&p)
				var done int64
				p.Progress = func(d, _ int64) { done = d }
				r, err := restore.Offline(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				if st, err := os.Stat(datadir.BackendPath(p.DataDir)); err != nil || r.Bytes != st.Size() || done == 0 {
					t.Fatalf("%+v, %v, progress %d", r, err, done)
				}
				id := inspect(t, p.DataDir)
				if id.State != datadir.Present || id.Revision != row.revision || id.CompactRevision != row.compacted || len(id.Members) != row.members ||
					id.MemberID != r.MemberID || id.ClusterID != r.ClusterID || r.Revision != row.revision || r.SnapshotRevision != 400 {
					t.Fatalf("%+v\n%+v", id, r)
				}
				if row.members == 1 {
					sameTree(t, p.DataDir, wholeDir...)
				}
				sameTree(t, filepath.Dir(p.DataDir), append([]string{"."}, under("data", tree(t, p.DataDir))...)...)

				// P13, I1: what is there is never replaced.
				if _, err := restore.Offline(t.Context(), p); !errors.Is(err, datadir.ErrOccupied) {
					t.Fatalf("restored over a data dir: %v", err)
				}
			})
		}
	}
}

func under(dir string, paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, filepath.Join(dir, p))
	}
	return out
}

func TestOfflineRefusals(t *testing.T) {
	zero, one := uint64(0), uint64(1)
	yes, no := true, false
	huge := uint64(1) << 63
	for _, row := range []struct {
		name   string
		change func(t *testing.T, p *restore.OfflineParams)
		want   error
		says   string
	}{
		{"several members, no token", func(_ *testing.T, p *restore.OfflineParams) {
			p.InitialCluster = "default=http://localhost:2380,b=http://10.0.0.2:2380"
		}, nil, "--initial-cluster-token"},
		{"name not in the cluster", func(_ *testing.T, p *restore.OfflineParams) { p.Name, p.InitialCluster = "x", "a=http://10.0.0.1:2380" }, nil, `no member "x"`},
		{"peer URL not in the cluster", func(_ *testing.T, p *restore.OfflineParams) {
			p.InitialCluster, p.PeerURLs = "default=http://10.0.0.1:2380", []string{"http://10.0.0.2:2380"}
		}, nil, "its own peer URLs are"},
		{"URL twice", func(_ *testing.T, p *restore.OfflineParams) {
			p.InitialCluster, p.Token = "default=http://10.0.0.1:2380,b=http://10.0.0.1:2380", "t"
		}, nil, "twice"},
		{"no URL", func(_ *testing.T, p *restore.OfflineParams) { p.PeerURLs = []string{"10.0.0.1"} }, nil, "peer URLs"},
		{"bump, no mark", func(_ *testing.T, p *restore.OfflineParams) { p.BumpRevision, p.MarkCompacted = &one, &no }, nil, "belong together"},
		{"mark, no bump", func(_ *testing.T, p *restore.OfflineParams) { p.BumpRevision, p.MarkCompacted = &zero, &yes }, nil, "belong together"},
		{"a bump out of range", func(_ *testing.T, p *restore.OfflineParams) { p.BumpRevision = &huge }, nil, "can not be raised"},
		{"another digest", func(_ *testing.T, p *restore.OfflineParams) { p.Source.SHA256 = strings.Repeat("0", 64) }, snapshot.ErrHashMismatch, "should be 0000"},
		{"flipped bit", func(t *testing.T, p *restore.OfflineParams) {
			data, err := os.ReadFile(p.Source.Path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(p.Source.Path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, snapshot.ErrHashMismatch, "another copy"},
		{"cut short", func(t *testing.T, p *restore.OfflineParams) {
			if err := os.Truncate(p.Source.Path, 20000); err != nil {
				t.Fatal(err)
			}
		}, snapshot.ErrTruncated, ""},
		{"a stream that is cut short", func(_ *testing.T, p *restore.OfflineParams) {
			path := p.Source.Path
			p.Source = restore.Source{Label: "s3://x", Open: func(context.Context) (io.ReadCloser, error) {
				f, err := os.Open(path)
				return struct {
					io.Reader
					io.Closer
				}{io.LimitReader(f, 20000), f}, err
			}}
		}, snapshot.ErrTruncated, "s3://x"},
		{"a stream that breaks", func(_ *testing.T, p *restore.OfflineParams) {
			path := p.Source.Path
			p.Source = restore.Source{Label: "s3://x", Open: func(context.Context) (io.ReadCloser, error) {
				f, err := os.Open(path)
				return struct {
					io.Reader
					io.Closer
				}{io.MultiReader(io.LimitReader(f, 20000), broken{}), f}, err
			}}
		}, io.ErrUnexpectedEOF, "after 20000 bytes"},
		{"a stream that can not be opened", func(_ *testing.T, p *restore.OfflineParams) {
			p.Source = restore.Source{Label: "s3://x", Open: func(context.Context) (io.ReadCloser, error) { return nil, fs.ErrPermission }}
		}, fs.ErrPermission, "open s3://x"},
		{"no such file", func(_ *testing.T, p *restore.OfflineParams) { p.Source.Path += "x" }, fs.ErrNotExist, ""},
		{"wal in the data dir", func(_ *testing.T, p *restore.OfflineParams) { p.WALDir = filepath.Join(p.DataDir, "x") }, nil, "in each other"},
		{"data dir in the wal", func(_ *testing.T, p *restore.OfflineParams) { p.WALDir = filepath.Dir(p.DataDir) }, nil, "in each other"},
	} {
		for _, exists := range []bool{false, true} {
			t.Run(row.name, func(t *testing.T) {
				p := offlineParams(t, threeMembers())
				top := filepath.Dir(p.Source.Path)
				row.change(t, &p)
				if exists {
					if err := os.MkdirAll(p.DataDir, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				before := tree(t, top)
				_, err := restore.Offline(t.Context(), p)
				if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), p.DataDir) {
					t.Fatalf("got %v, want %v with %q", err, row.want, row.says)
				}
				sameTree(t, top, before...)
			})
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestOfflineNeverTouchesWhatIsThere (P19, I1).
func TestOfflineNeverTouchesWhatIsThere(t *testing.T) {
	for _, row := range []struct{ name, path, says string }{
		{"a file", "note.txt", "note.txt"},
		{"a member directory", "member/snap/db", "an etcd member's data"},
		{"a file in the place of the member directory", "member", "member"},
		{"an archive of an agent", ".ceo/archive/x/record.json", ".ceo/archive"},
		{"a staging directory of an agent", ".ceo/staging/r1/staged.json", ".ceo/staging/r1"},
		{"somebody's .touch", ".touch/x", ".touch"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := offlineParams(t, threeMembers())
			path := filepath.Join(p.DataDir, row.path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := tree(t, p.DataDir)
			_, err := restore.Offline(t.Context(), p)
			if !errors.Is(err, datadir.ErrOccupied) || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v", err)
			}
			sameTree(t, p.DataDir, before...)
		})
	}
}

// stall gives some bytes and then nothing until it is told to.
type stall struct {
	io.Reader
	reached func()
	ctx     context.Context
}

func (s *stall) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		s.reached()
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return n, err
}

func (s *stall) Close() error { return nil }

// TestOfflineInterrupted: a stream that stalls, a second restore meanwhile, and an end by ctx. All is as before.
func TestOfflineInterrupted(t *testing.T) {
	p := offlineParams(t, threeMembers())
	top := filepath.Dir(p.Source.Path)
	data, err := os.ReadFile(p.Source.Path)
	if err != nil {
		t.Fatal(err)
	}
	file := p
	before := tree(t, top)
	ctx, cancel := context.WithCancel(t.Context())
	reached := make(chan struct{})
	p.Source = restore.Source{Label: "slow", Open: func(ctx context.Context) (io.ReadCloser, error) {
		return &stall{Reader: strings.NewReader(string(data[:30000])), reached: func() { close(reached) }, ctx: ctx}, nil
	}}
	ended := make(chan error, 1)
	go func() {
		_, err := restore.Offline(ctx, p)
		ended <- err
	}()
	<-reached
	// I2: what an etcd would find now is no directory that it could begin anew in.
	if st, err := os.Lstat(datadir.MemberDir(p.DataDir)); err != nil || !st.Mode().IsRegular() {
		t.Fatalf("I2: %v, %v", st, err)
	}
	if _, err := restore.Offline(t.Context(), file); err == nil || !strings.Contains(err.Error(), "another ceo restore is at work") {
		t.Fatalf("two at once: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	sameTree(t, top, before...)
	if _, err := restore.Offline(t.Context(), file); err != nil {
		t.Fatal(err)
	}
}

func TestOfflineWALDir(t *testing.T) {
	p := offlineParams(t, threeMembers())
	top := filepath.Dir(p.Source.Path)
	p.WALDir = filepath.Join(top, "disk", "wal")
	good := p.Source
	before := tree(t, top)
	p.Source.SHA256 = "00"
	if _, err := restore.Offline(t.Context(), p); !errors.Is(err, snapshot.ErrHashMismatch) {
		t.Fatal(err)
	}
	sameTree(t, top, before...)

	p.Source = good
	r, err := restore.Offline(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, p.DataDir, ".", "member", "member/snap", "member/snap/0000000000000001-0000000000000001.snap", "member/snap/db")
	sameTree(t, p.WALDir, ".", "0000000000000000-0000000000000000.wal")
	if err := os.Symlink(p.WALDir, datadir.WALDir(p.DataDir)); err != nil {
		t.Fatal(err)
	}
	if id := inspect(t, p.DataDir); id.State != datadir.Present || id.ClusterID != r.ClusterID {
		t.Fatalf("%+v", id)
	}
	// Another data dir does not get a WAL directory that is taken.
	p.DataDir += "2"
	if _, err := restore.Offline(t.Context(), p); !errors.Is(err, datadir.ErrOccupied) || !strings.Contains(err.Error(), ".wal") {
		t.Fatal(err)
	}
	sameTree(t, p.WALDir, ".", "0000000000000000-0000000000000000.wal")
}

func TestOfflineChild(t *testing.T) {
	snap, dir := os.Getenv("CEO_OFFLINE_SNAPSHOT"), os.Getenv("CEO_OFFLINE_DATADIR")
	if snap == "" {
		t.SkipNow()
	}
	if os.Getenv("CEO_OFFLINE_FALLBACK") != "" {
		defer restore.WithoutExchange()()
	}
	if _, err := restore.Offline(t.Context(), restore.OfflineParams{
		Source: restore.Source{Path: snap}, DataDir: dir, WALDir: os.Getenv("CEO_OFFLINE_WALDIR"),
	}); err != nil {
		t.Fatal(err)
	}
}

// TestOfflineKilledAtAnyTime: at each moment DIR is absent, closed to etcd, or whole (I2); and the same call again
// finishes (I20).
func TestOfflineKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	b := threeMembers()
	b.Entries = etcdtest.Puts(2, 6000, 1000)
	p := offlineParams(t, b)
	for _, row := range []struct {
		name          string
		fallback, wal string
	}{{"exchange", "", ""}, {"no exchange", "x", ""}, {"wal elsewhere", "", "wal"}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			run := func(top string, after time.Duration) (time.Duration, bool) {
				cmd := exec.Command(os.Args[0], "-test.run=^TestOfflineChild$") //nolint:gosec // this test itself
				cmd.Env = append(os.Environ(), "CEO_OFFLINE_SNAPSHOT="+p.Source.Path, "CEO_OFFLINE_DATADIR="+filepath.Join(top, "data"),
					"CEO_OFFLINE_FALLBACK="+row.fallback)
				if row.wal != "" {
					cmd.Env = append(cmd.Env, "CEO_OFFLINE_WALDIR="+filepath.Join(top, row.wal))
				}
				begin := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// Where it lands does not matter, only that the moments are many.
				kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
				defer kill.Stop()
				err := cmd.Wait()
				return time.Since(begin), err == nil
			}
			whole, done := run(t.TempDir(), time.Minute)
			if !done {
				t.Fatal("undisturbed, it failed")
			}
			const kills = 12
			for i := range kills {
				top := t.TempDir()
				_, done := run(top, whole*time.Duration(i+1)/kills)
				dir := filepath.Join(top, "data")
				closed(t, dir, row.wal != "")
				again := p
				again.DataDir = dir
				if row.wal != "" {
					again.WALDir = filepath.Join(top, row.wal)
				}
				_, err := restore.Offline(t.Context(), again)
				if err != nil && !errors.Is(err, datadir.ErrOccupied) || err == nil && done {
					t.Fatalf("killed after %d/%d (ended: %v): %v", i+1, kills, done, err)
				}
				want := under("data", wholeDir)
				if row.wal != "" {
					want = append(under("data", wholeDir[:5]), under("wal", []string{".", "0000000000000000-0000000000000000.wal"})...)
				}
				sameTree(t, top, append([]string{"."}, want...)...)
				_ = os.RemoveAll(top)
			}
		})
	}
}

// TestOfflineAfterTheSecondBlocker: whatever of the second blocker a crash left, the same call again finishes (I20).
// The kills of the test above seldom fall on these moments.
func TestOfflineAfterTheSecondBlocker(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(dir, words string) error
		free bool
	}{
		{"made, not in place", func(dir, words string) error {
			return os.WriteFile(filepath.Join(dir, ".ceo", "staging", "restore", ".touch"), []byte(words), 0o600)
		}, true},
		{"in place", func(dir, words string) error {
			return os.WriteFile(filepath.Join(dir, ".touch", "ceo-restore"), []byte(words), 0o600)
		}, true},
		{"its removal interrupted", func(string, string) error { return nil }, true},
		{"somebody's, beside ours", func(dir, words string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, ".touch", "ceo-restore"), []byte(words), 0o600),
				os.WriteFile(filepath.Join(dir, ".touch", "x"), nil, 0o600))
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := offlineParams(t, threeMembers())
			crashed := filepath.Join(t.TempDir(), "data")
			undo := restore.AtExchange(func() {
				words, err := os.ReadFile(datadir.MemberDir(p.DataDir))
				if err == nil {
					err = os.CopyFS(crashed, os.DirFS(p.DataDir))
				}
				if err == nil {
					err = os.Mkdir(filepath.Join(crashed, ".touch"), 0o700)
				}
				if err := errors.Join(err, row.do(crashed, string(words))); err != nil {
					t.Error(err)
				}
			})
			_, err := restore.Offline(t.Context(), p)
			undo()
			if err != nil {
				t.Fatal(err)
			}
			before := tree(t, crashed)
			p.DataDir = crashed
			defer restore.WithoutExchange()()
			_, err = restore.Offline(t.Context(), p)
			if !row.free {
				if !errors.Is(err, datadir.ErrOccupied) {
					t.Fatal(err)
				}
				sameTree(t, crashed, before...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sameTree(t, crashed, wholeDir...)
		})
	}
}

// closed fails where an etcd would start on nothing or half of it.
func closed(t *testing.T, dir string, walElsewhere bool) {
	t.Helper()
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return
	}
	st, err := os.Lstat(datadir.MemberDir(dir))
	if err == nil && st.Mode().IsRegular() {
		return
	}
	if touch, touchErr := os.Lstat(filepath.Join(dir, ".touch")); touchErr == nil && touch.IsDir() {
		return
	}
	if err != nil {
		t.Fatalf("I2: %s would be begun anew: %v", dir, tree(t, dir))
	}
	if id := inspect(t, dir); !walElsewhere && (id.State != datadir.Present || id.Revision < restore.Margin) {
		t.Fatalf("I2: %+v", id)
	}
}
