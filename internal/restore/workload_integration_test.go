//go:build integration

package restore_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// workload is what happened to a store before its snapshot was taken.
type workload struct {
	rnd    *rand.Rand
	cli    *clientv3.Client
	leases []clientv3.LeaseID
	rev    int64
	auth   bool

	withAuth, withAlarm bool
}

const rootPassword = "correct horse"

// run does n random things and gives a client that may do anything.
func (w *workload) run(ctx context.Context, t *testing.T, m *etcdtest.Member, n int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		switch k := w.rnd.IntN(100); {
		case k < 55:
			resp, err := w.cli.Put(ctx, w.key(), w.value(), w.options()...)
			must(err)
			w.rev = resp.Header.Revision
		case k < 75:
			resp, err := w.cli.Delete(ctx, w.key())
			must(err)
			w.rev = resp.Header.Revision
		case k < 88: // several entries of one revision
			resp, err := w.cli.Txn(ctx).Then(
				clientv3.OpPut("/t/a", w.value()), clientv3.OpPut("/t/b", w.value()), clientv3.OpDelete(w.key()),
				clientv3.OpPut("/t/c", w.value(), w.options()...),
			).Commit()
			must(err)
			w.rev = resp.Header.Revision
		case k < 93:
			l, err := w.cli.Grant(ctx, 1000+w.rnd.Int64N(9000))
			must(err)
			w.leases = append(w.leases, l.ID)
		case k < 95 && len(w.leases) > 0:
			_, err := w.cli.Revoke(ctx, w.leases[0])
			must(err)
			w.leases = w.leases[1:]
		case k < 97 && w.rev > 10:
			// Some of them again, which etcd refuses.
			_, _ = w.cli.Compact(ctx, w.rev-w.rnd.Int64N(8), clientv3.WithCompactPhysical())
		}
	}
	if w.withAuth {
		w.enableAuth(ctx, t, m)
	}
	if w.withAlarm {
		// The last: nothing can be written after it.
		_, err := pb.NewMaintenanceClient(w.cli.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
			Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE,
		})
		must(err)
	}
}

func (w *workload) enableAuth(ctx context.Context, t *testing.T, m *etcdtest.Member) {
	t.Helper()
	for i := range 3 {
		role, user := fmt.Sprintf("role%d", i), fmt.Sprintf("user%d", i)
		_, err := w.cli.RoleAdd(ctx, role)
		if err == nil {
			_, err = w.cli.RoleGrantPermission(ctx, role, w.key(), "/z", clientv3.PermissionType(w.rnd.IntN(3))) //nolint:gosec // 0 to 2
		}
		if err == nil {
			_, err = w.cli.UserAdd(ctx, user, "secret")
		}
		if err == nil {
			_, err = w.cli.UserGrantRole(ctx, user, role)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.cli.UserAdd(ctx, "root", rootPassword)
	if err == nil {
		_, err = w.cli.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = w.cli.AuthEnable(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.auth = true
	w.cli = client(t, m, true)
}

func (w *workload) key() string   { return fmt.Sprintf("/k/%02d", w.rnd.IntN(40)) }
func (w *workload) value() string { return fmt.Sprintf("%0*d", w.rnd.IntN(3000), w.rnd.IntN(1e6)) }

func (w *workload) options() []clientv3.OpOption {
	if len(w.leases) == 0 || w.rnd.IntN(3) > 0 {
		return nil
	}
	return []clientv3.OpOption{clientv3.WithLease(w.leases[w.rnd.IntN(len(w.leases))])}
}

func client(t *testing.T, m *etcdtest.Member, auth bool) *clientv3.Client {
	t.Helper()
	if !auth {
		return m.Client(t)
	}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: []string{m.ClientURL}, DialTimeout: etcdtest.WaitFor, Logger: zap.NewNop(),
		Username: "root", Password: rootPassword,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

// download is a snapshot as etcd sends it.
func (w *workload) download(ctx context.Context, t *testing.T) string {
	t.Helper()
	r, err := w.cli.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	path := filepath.Join(t.TempDir(), "s.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, r); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
