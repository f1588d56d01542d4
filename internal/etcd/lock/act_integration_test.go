//go:build integration

package lock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// holderEnv makes this test binary a process that takes the lock and waits to be killed or stopped.
const holderEnv = "CEO_TEST_LOCK_HOLDER"

// brief is a lease that a test can wait for.
const brief = 3 * time.Second

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(holderEnv); endpoint != "" {
		hold(endpoint)
		return
	}
	os.Exit(m.Run())
}

// hold says "held", and for each line that it reads it acts and says what became of it.
func hold(endpoint string) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: etcdtest.WaitFor})
	if err != nil {
		println("failed " + err.Error())
		return
	}
	held, err := acquire(context.Background(), c, "another process", brief, time.Minute, quiet)
	if err != nil {
		println("failed " + err.Error())
		return
	}
	_, _ = os.Stdout.WriteString("held\n")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		err := held.Act(context.Background(), func(ctx context.Context) error {
			_, err := c.Put(ctx, "/acted", in.Text())
			return err
		})
		if err != nil {
			_, _ = os.Stdout.WriteString("refused " + strings.ReplaceAll(err.Error(), "\n", " ") + "\n")
			continue
		}
		_, _ = os.Stdout.WriteString("acted\n")
	}
}

type process struct {
	cmd *exec.Cmd
	in  interface{ Write([]byte) (int, error) }
	out *bufio.Scanner
}

func startHolder(t *testing.T, endpoint string) *process {
	t.Helper()
	cmd := exec.CommandContext(etcdtest.Context(t), os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+endpoint)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &process{cmd, in, bufio.NewScanner(out)}
	p.says(t, "held")
	return p
}

func (p *process) says(t *testing.T, what string) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("the holder ended: %v", p.out.Err())
	}
	if line := p.out.Text(); strings.HasPrefix(line, what) {
		return line
	}
	t.Fatalf("the holder said %q, not %q", p.out.Text(), what)
	return ""
}

func (p *process) act(t *testing.T, value string) {
	t.Helper()
	if _, err := p.in.Write([]byte(value + "\n")); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	res, err := c.Get(etcdtest.Context(t), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Kvs) == 0 {
		return ""
	}
	return string(res.Kvs[0].Value)
}

// I7: the lock of a holder that is killed ends by itself, within its time and not at once: what it began may go on.
func TestKilledHolder(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	c := e.Client(t)
	p := startHolder(t, e.Members[0].ClientURL)
	p.act(t, "1")
	p.says(t, "acted")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(etcdtest.Context(t), c, "second", 0, quiet)
	var locked *HeldError
	if !errors.As(err, &locked) || locked.By.Who != "another process" {
		t.Fatalf("right after the kill: %v", err)
	}
	held, err := Acquire(etcdtest.Context(t), c, "second", etcdtest.WaitFor, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if err := held.Act(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

// I7: a holder that stood still while another took the lock does nothing when it goes on (two operators at once).
func TestFrozenHolderDoesNotAct(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	c := e.Client(t)
	p := startHolder(t, e.Members[0].ClientURL)
	p.act(t, "before")
	p.says(t, "acted")
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Its lease ends; that it takes as long as it does is TestKilledHolder's.
	leases, err := c.Leases(etcdtest.Context(t))
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("leases %v, %v", leases, err)
	}
	if _, err := c.Revoke(etcdtest.Context(t), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	held, err := Acquire(etcdtest.Context(t), c, "second", 0, quiet)
	if err != nil {
		t.Fatal(err)
	}
	p.act(t, "after")
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.says(t, "refused")
	if got := value(t, c, "/acted"); got != "before" {
		t.Errorf("the first holder still wrote %q", got)
	}
	if err := held.Check(t.Context()); err != nil {
		t.Error(err)
	}
	held.Release()
}

// The lease is lost while the holder acts: what it does is broken off before another can have the lock.
func TestLeaseLostWhileActing(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	c := e.Client(t)
	held, err := acquire(t.Context(), c, "first", brief, 0, quiet)
	if err != nil {
		t.Fatal(err)
	}
	err = held.Act(t.Context(), func(ctx context.Context) error {
		end, ok := ctx.Deadline()
		if left := time.Until(end); !ok || left > brief-brief/margin {
			t.Errorf("it may act for %s more, with a lease of %s", left, brief)
		}
		if _, err := c.Revoke(ctx, held.lease); err != nil {
			return err
		}
		select {
		case <-held.Lost():
			return errors.New("lost")
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err == nil || err.Error() != "lost" {
		t.Errorf("got %v", err)
	}
	called := false
	if err := held.Act(t.Context(), func(context.Context) error { called = true; return nil }); err == nil || called {
		t.Errorf("acted with a lost lock: %v", err)
	}
}

// Without a quorum nobody acts: the lock cannot be asked for, and that is no yes (I23).
func TestNoQuorumNoAct(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	c := e.Client(t)
	held, err := Acquire(t.Context(), c, "first", 0, quiet)
	if err != nil {
		t.Fatal(err)
	}
	e.Members[0].Kill(t)
	called := false
	if err := held.Act(t.Context(), func(context.Context) error { called = true; return nil }); err == nil || called {
		t.Errorf("acted without etcd: %v", err)
	}
}

// Under an alarm etcd refuses the lock; what mends it goes by Frozen.
func TestAlarms(t *testing.T) {
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		t.Run(alarm.String(), func(t *testing.T) {
			c := etcdtest.Start(t, etcdtest.Options{}).Client(t)
			ctx := etcdtest.Context(t)
			if err := Frozen(ctx, c); err == nil {
				t.Error("frozen without an alarm")
			}
			held, err := acquire(ctx, c, "first", brief, 0, quiet)
			if err != nil {
				t.Fatal(err)
			}
			raise := func(action pb.AlarmRequest_AlarmAction) {
				if _, err := pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: 1, Alarm: alarm}); err != nil {
					t.Fatal(err)
				}
			}
			raise(pb.AlarmRequest_ACTIVATE)
			var locked *HeldError
			if err := Frozen(ctx, c); !errors.As(err, &locked) || locked.By.Who != "first" {
				t.Errorf("frozen beside a holder: %v", err)
			}
			// Under CORRUPT it cannot be given back, and ends by itself.
			held.Release()
			etcdtest.Eventually(t, "the lock to be free as far as the mending goes", func() (bool, string) {
				err := Frozen(ctx, c)
				return err == nil, fmt.Sprint(err)
			})
			var refused *AlarmError
			_, err = Acquire(ctx, c, "second", 0, quiet)
			if free := errors.As(err, &refused); alarm == pb.AlarmType_NOSPACE && (!free || refused.ExitCode() != 4) || err == nil {
				t.Errorf("took the lock under an alarm: %v", err)
			}
			if err := held.Act(ctx, func(context.Context) error { return nil }); err == nil {
				t.Error("the holder of before still acts")
			}
			// The membership can be changed all the same: a corrupt member can be replaced.
			added, err := c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.MemberRemove(ctx, added.Member.ID); err != nil {
				t.Error(err)
			}
			raise(pb.AlarmRequest_DEACTIVATE)
			again, err := Acquire(ctx, c, "second", etcdtest.WaitFor, quiet)
			if err != nil {
				t.Fatal(err)
			}
			again.Release()
		})
	}
}
