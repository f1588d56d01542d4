package cli

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cli/ui"
)

var (
	running = &agentpb.Recovery{Id: "r1", State: "running"}
	joining = &agentpb.Recovery{Id: "r1", State: "joining", WaitingFor: []string{"cp-2"}}
	failed  = &agentpb.Recovery{Id: "r1", State: "failed", Step: "stage", Error: "the disk is full"}
	done    = &agentpb.Recovery{Id: "r1", State: "done"}
)

func TestWatchEnds(t *testing.T) {
	upToJoin := []*agentpb.RecoveryEvent{
		event("open", "", "", running), event("begin", "start", "cp-1", running), event("done", "start", "cp-1", running), event("done", "control-plane", "cp-1", joining),
	}
	silent := []*agentpb.NodeState{{Name: "cp-1"}, {Name: "cp-2", Unreachable: "its agent did not answer in time"}}
	for _, c := range []struct {
		name   string
		events []*agentpb.RecoveryEvent
		ended  bool
		nodes  []*agentpb.NodeState
		follow Follow
		code   int
		says   []string
	}{
		{"done", append(upToJoin[:4:4], event("done", "join/cp-2", "cp-2", done), event("end", "", "", done)), true, nil, UntilDone, 0, []string{"etcd serves", "API answers", "cp-2 is a voter"}},
		{"failed", []*agentpb.RecoveryEvent{event("open", "", "", running), event("failed", "stage", "", failed)}, true, nil, UntilDone, 1, []string{"at step stage", "the disk is full", "ceo recover --resume", "ceo recover --abort"}},
		{"only a dark node is waited for", upToJoin, false, silent, UntilDone, 3, []string{"for cp-2: boot it", "ceo recover --let-go cp-2"}},
		{"until the API answers", upToJoin, false, silent, UntilAPI, 0, []string{"the API answers", "goes on by itself"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScripted(t)
			s.plan, s.events, s.ended, s.nodes = goodPlan, c.events, c.ended, c.nodes
			o := consent()
			o.Follow = c.follow
			v := s.recover(o, fastRecover)
			if v.code != c.code {
				t.Errorf("exit %d, want %d: %v", v.code, c.code, v.failure)
			}
			for _, want := range c.says {
				if !strings.Contains(v.out.String()+v.err.String(), want) {
					t.Errorf("no %q in\n%s%s", want, &v.out, &v.err)
				}
			}
		})
	}
}

// I20: the agent is killed in the middle of a stream and comes back; nothing is
// shown twice, and nothing is left out.
func TestWatchOutlivesTheAgent(t *testing.T) {
	s := newScripted(t)
	s.plan, s.ended, s.dieAfter = goodPlan, true, 2
	s.events = []*agentpb.RecoveryEvent{
		event("open", "", "", running), event("begin", "verify", "cp-1", running), event("done", "verify", "cp-1", running), event("end", "", "", done),
	}
	v := s.recover(consent(), fastRecover)
	if v.code != ExitOK {
		t.Fatalf("exit %d: %v", v.code, v.failure)
	}
	for _, once := range []string{"recovery r1 begins", "… cp-1", "✔ cp-1", "■"} {
		if n := strings.Count(v.out.String(), once); n != 1 {
			t.Errorf("%q %d times in\n%s", once, n, &v.out)
		}
	}
	if !strings.Contains(v.err.String(), "goes on when it is back") {
		t.Errorf("it does not say that the agent went away:\n%s", &v.err)
	}
}

// A stream that an agent opened while it was starting may be of a journal that
// nobody writes to any more.
func TestAQuietStreamIsOpenedAnew(t *testing.T) {
	s := newScripted(t)
	s.plan, s.events = goodPlan, []*agentpb.RecoveryEvent{event("open", "", "", running)}
	v := make(chan *verb, 1)
	go func() { v <- s.recover(consent(), fastRecover) }()
	for range 3 {
		select {
		case <-s.opened:
		case early := <-v:
			t.Fatalf("exit %d: %v", early.code, early.failure)
		}
	}
	s.stop()
	if got := <-v; got.code != ExitFailed || !strings.Contains(got.err.String(), "ceo recover --resume") {
		t.Fatalf("exit %d: %s", got.code, &got.err)
	}
}

func TestRefusals(t *testing.T) {
	refused := func(kind string) *agentpb.Plan {
		return &agentpb.Plan{ClusterName: "prod", Diagnosis: "d", Refused: "no way", RefusedKind: kind}
	}
	for _, c := range []struct {
		name   string
		plan   *agentpb.Plan
		runErr error
		change func(*RecoverOptions)
		code   int
		says   string
	}{
		{"--plan ends with changes pending", goodPlan, nil, func(o *RecoverOptions) { o.Plan = true }, 2, "POINT OF NO RETURN"},
		{"I14: no consent and no terminal", goodPlan, nil, func(o *RecoverOptions) { o.Yes = false }, 4, "ceo recover --yes --confirm-cluster=prod --accept-risk=rollback"},
		{"I14: --yes without the name", goodPlan, nil, func(o *RecoverOptions) { o.Confirm = "" }, 4, "--confirm-cluster=prod"},
		{"I14: another cluster's name", goodPlan, nil, func(o *RecoverOptions) { o.Confirm = "test" }, 4, `"test" was confirmed`},
		{"I13: a risk that was not accepted", goodPlan, nil, func(o *RecoverOptions) { o.Accept = nil }, 4, "--accept-risk=rollback"},
		{"refused as unsafe", refused("unsafe"), nil, nil, 4, "no way"},
		{"another recovery is open", refused("locked"), nil, nil, 5, "no way"},
		{"impossible", refused("error"), nil, nil, 1, "no way"},
		{"the agent refuses what has changed", goodPlan, status.Error(codes.FailedPrecondition, "has changed since"), nil, 4, "has changed since"},
		{"the agent is locked", goodPlan, status.Error(codes.Aborted, "recovery x is open"), nil, 5, "recovery x is open"},
		{"the agent dies before it begins", goodPlan, status.Error(codes.Unavailable, "gone"), nil, 1, "nothing was changed"},
	} {
		for _, f := range []Format{Text, JSON} {
			t.Run(c.name+" "+string(f), func(t *testing.T) {
				s := newScripted(t)
				s.plan, s.runErr, s.ended = c.plan, c.runErr, true
				o := consent()
				o.Format = f
				if c.change != nil {
					c.change(&o)
				}
				v := s.recover(o, Recover)
				if all := v.out.String() + v.err.String(); v.code != c.code || f == Text && !strings.Contains(all, c.says) || f == JSON && c.code != 2 && !strings.Contains(all, c.says) && !strings.Contains(all, `\"test\"`) {
					t.Errorf("exit %d, want %d and %q:\n%s", v.code, c.code, c.says, all)
				}
				if c.runErr == nil && s.ran != nil {
					t.Error("it was run")
				}
				if n := strings.Count(v.err.String(), "ceo: "); n > 1 {
					t.Errorf("said %d times:\n%s", n, &v.err)
				}
			})
		}
	}
}

// P13, P14: a bad file is refused here, before the agent hears of it.
func TestABadFileIsNotSent(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ path, says string }{
		"no such file": {dir + "/nowhere.db", "ls -l /var/lib/etcd-backup"},
		"empty":        {write(t, dir, "empty.db", ""), "cut short"},
		"no snapshot":  {write(t, dir, "noise.db", strings.Repeat("noise ", 5000)), "etcdctl snapshot save"},
		"gzip":         {write(t, dir, "s.db.gz", "\x1f\x8b"+strings.Repeat("x", 70000)), "unpack it"},
		"a folder":     {dir, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t)
			s.plan = goodPlan
			o := consent()
			o.From = c.path
			v := s.recover(o, Recover)
			if v.code != ExitFailed || !strings.Contains(v.err.String(), c.says) || !strings.Contains(v.err.String(), "nothing was changed") {
				t.Errorf("exit %d: %s", v.code, &v.err)
			}
			if s.put > 0 || s.ran != nil {
				t.Error("the agent was bothered with it")
			}
		})
	}
}

func TestOnlyDark(t *testing.T) {
	for _, c := range []struct {
		name    string
		planned []string
		waiting []string
		looks   []map[string]bool
		want    bool
	}{
		{"nobody is waited for", nil, nil, []map[string]bool{{}}, false},
		{"dark in the plan and now", []string{"b"}, []string{"b"}, []map[string]bool{{"b": true}}, true},
		{"dark in the plan and back", []string{"b"}, []string{"b"}, []map[string]bool{{"b": false}}, false},
		{"gone dark since: one look is no proof", nil, []string{"b"}, []map[string]bool{{"b": true}}, false},
		{"gone dark since", nil, []string{"b"}, []map[string]bool{{"b": true}, {"b": true}, {"b": true}}, true},
		{"a look between", nil, []string{"b"}, []map[string]bool{{"b": true}, {"b": true}, {"b": false}, {"b": true}}, false},
		{"another still joins", []string{"b"}, []string{"b", "c"}, []map[string]bool{{"b": true, "c": false}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := darkness{planned: map[string]bool{}}
			for _, p := range c.planned {
				d.planned[p] = true
			}
			got := false
			for _, l := range c.looks {
				got = d.only(c.waiting, l)
			}
			if got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

func TestCommandToType(t *testing.T) {
	r := &recoverer{s: Streams{Name: "kubectl ceo"}, o: RecoverOptions{From: "/tmp/it's.db", SkipHashCheck: true, Target: Target{Agent: "cp-1"}}}
	want := `kubectl ceo recover --agent cp-1 --from '/tmp/it'\''s.db' --skip-hash-check --yes --confirm-cluster=prod --accept-risk=rollback`
	if got := r.command(ui.PlanOf(goodPlan)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
