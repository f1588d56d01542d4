//go:build integration

package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
)

// outcome of a restore that did not end by itself. There is no fourth: what is none of these fails the test.
type outcome string

const (
	old     outcome = "old"     // as before: no data dir, or an empty one
	blocked outcome = "blocked" // etcd refuses to start on it
	whole   outcome = "whole"   // all of the new data
)

// subject is a restore under test: where it goes, and as what.
type subject struct {
	fx      *fixture
	dataDir string
	walDir  string   // empty: in the data dir
	backup  string   // a backup's URL; empty: the snapshot file
	env     []string // for each run of ceo
	member  *etcdtest.Member
}

func newSubject(t testing.TB, fx *fixture, dataDir string) subject {
	return subject{fx: fx, dataDir: dataDir, member: etcdtest.NewMember(t, "m1", dataDir, nil)}
}

// at is the same for another place.
func (s subject) at(dataDir string) subject {
	m := *s.member
	m.DataDir = dataDir
	s.dataDir, s.member = dataDir, &m
	return s
}

// args of the restore. The token is given, so that each run makes the same.
func (s subject) args() []string {
	source := s.fx.snapshot
	if s.backup != "" {
		source = s.backup
	}
	args := []string{
		// No configuration, whatever this machine has.
		"restore", source, "--root", scratch, "--data-dir", s.dataDir, "--name", s.member.Name,
		"--initial-advertise-peer-urls", s.member.PeerURL, "--initial-cluster-token", "crash",
	}
	if s.walDir != "" {
		args = append(args, "--wal-dir", s.walDir)
	}
	return args
}

// look classifies what is there. want is what a run that was left alone made.
func (s subject) look(ctx context.Context, want string) (outcome, error) {
	entries, err := os.ReadDir(s.dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// What blocks etcd has another name until it is flushed: until then the directory is as empty as it was.
	if entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".member.ceo-") }); len(entries) == 0 {
		return old, s.lookWAL()
	}
	st, err := os.Lstat(datadir.MemberDir(s.dataDir))
	switch {
	case s.touched():
		return blocked, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("I2: etcd would start empty on %s: it has no member directory and nothing in its place, only %s", s.dataDir, names(entries))
	case err != nil:
		return "", err
	case st.Mode().IsRegular():
		return blocked, nil
	}
	got, err := s.digest(ctx)
	if err != nil {
		return "", fmt.Errorf("I2: what lies in place is not whole: %w", err)
	}
	if want != "" && got != want {
		return "", fmt.Errorf("I2: what lies in place is not what a whole restore makes:\n%s\nwant\n%s", got, want)
	}
	return whole, nil
}

// touched: the second blocker stands, see internal/restore/exchange.go.
func (s subject) touched() bool {
	st, err := os.Lstat(filepath.Join(s.dataDir, ".touch"))
	return err == nil && st.IsDir()
}

// run runs ceo's restore, with more environment.
func (s subject) run(t testing.TB, env ...string) ended {
	t.Helper()
	return runCeo(t, append(env, s.env...), s.args()...)
}

// lookWAL: with no data dir there must be no WAL, else an etcd takes it for its own.
func (s subject) lookWAL() error {
	if s.walDir == "" {
		return nil
	}
	entries, err := os.ReadDir(s.walDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".wal") {
			return fmt.Errorf("there is no data dir, and the WAL directory holds %s", e.Name())
		}
	}
	return nil
}

func names(entries []fs.DirEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, ", ")
}

// digest proves the data dir whole by this project's own means, and says in a line per file what there is.
func (s subject) digest(ctx context.Context) (string, error) {
	if s.walDir == "" { // else the WAL is not where Inspect looks
		id, err := datadir.Inspect(ctx, s.dataDir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
		switch {
		case err != nil:
			return "", err
		case id.State != datadir.Present || id.TornTail || !id.BackendRead || len(id.Strays) > 0 || len(id.Members) != 1:
			return "", fmt.Errorf("%s: %s; %+v", id.State, id.Why, id)
		}
	}
	if _, err := snapshot.Verify(ctx, datadir.BackendPath(s.dataDir), snapshot.VerifyOptions{SkipHash: true}); err != nil {
		return "", err
	}
	var b strings.Builder
	roots := []string{datadir.MemberDir(s.dataDir)}
	if s.walDir != "" {
		roots = append(roots, s.walDir)
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			// The mark of an unfinished restore, which etcd ignores, may still be there.
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".ceo-restore") {
				return err
			}
			sum, size, err := sumOf(path)
			rel, _ := filepath.Rel(root, path) // both are absolute
			_, _ = fmt.Fprintf(&b, "%s %d %s\n", rel, size, sum)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func sumOf(path string) (sum string, size int64, err error) {
	f, err := os.Open(path) //nolint:gosec // in the test's directory
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// refuses starts a real etcd on a data dir that is blocked: it must end by itself, with an error, having served nothing
// and changed nothing.
func (s subject) refuses(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	m := s.member
	args := []string{
		"--name=" + m.Name, "--data-dir=" + s.dataDir, "--initial-cluster=" + m.Name + "=" + m.PeerURL, "--initial-cluster-state=new",
		"--listen-client-urls=unix://" + shortSocket(t), "--advertise-client-urls=" + m.ClientURL,
		"--listen-peer-urls=unix://" + shortSocket(t), "--initial-advertise-peer-urls=" + m.PeerURL, "--initial-cluster-token=crash",
	}
	if s.walDir != "" {
		args = append(args, "--wal-dir="+s.walDir)
	}
	// It says why: with flags that it does not take it would end, too.
	why := "not a directory"
	if s.touched() {
		why = "is a directory"
	}
	e := runCommand(ctx, t, exec.CommandContext(ctx, filepath.Join(etcdtest.BinDir(t), "etcd"), args...), nil, nil) //nolint:gosec // the test's etcd
	if e.code <= 0 || strings.Contains(e.stderr, "ready to serve") || !strings.Contains(e.stderr, why) {
		t.Errorf("I2: etcd took a data dir that is not finished: %s", e)
	}
	if st, err := os.Lstat(datadir.MemberDir(s.dataDir)); (err != nil || !st.Mode().IsRegular()) && !s.touched() {
		t.Errorf("I2: etcd, refusing, removed what blocks it: %v", err)
	}
}

var sockets struct {
	sync.Mutex
	n int
}

// shortSocket: the path of a unix socket has at most 107 bytes.
func shortSocket(testing.TB) string {
	sockets.Lock()
	defer sockets.Unlock()
	sockets.n++
	return filepath.Join(scratch, fmt.Sprintf("s%d", sockets.n))
}

// booting: all of them have the same peer URL, since it is in the data dir.
var booting sync.Mutex

// serves boots a real etcd on a whole data dir and compares what a client sees with what the source served.
func (s subject) serves(t testing.TB) {
	t.Helper()
	booting.Lock()
	defer booting.Unlock()
	m := *s.member
	var flags []string
	if s.walDir != "" {
		flags = append(flags, "--wal-dir="+s.walDir)
	}
	m.Start(t, flags...)
	m.WaitHealthy(t)
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cli.Close() }()
	got, keys := content(t, cli)
	if got != s.fx.content || keys != s.fx.keys {
		t.Errorf("I10: it serves %d keys (%s), the source had %d (%s)", keys, got, s.fx.keys, s.fx.content)
	}
	m.Kill(t)
}
