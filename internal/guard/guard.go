package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// Options of a guard.
type Options struct {
	// Command is etcd's command line as the manifest has it.
	Command []string
	Paths   node.Paths
	// ProbeAddress is where the kubelet's probes are answered.
	ProbeAddress string
	// Agents may be nil: the guard works before any agent does.
	Agents PeerAgents
	Log    *slog.Logger
}

// Guard is the parent of one etcd.
type Guard struct {
	o     Options
	flags Flags
	see   gatherer
	poke  chan struct{}

	mu     sync.Mutex
	status Status
	// answered: the running etcd has answered its /livez once.
	answered bool
}

const (
	// pollEvery is how often a hold and an intent are looked for.
	pollEvery = time.Second
	// decideAtLeastEvery bounds the back-off of a long wait.
	decideAtLeastEvery = 5 * time.Second
	// patience: so long a wait asks its peers at every poll.
	patience = time.Minute

	graceForHold = 5 * time.Second
	// graceForFastHold: an etcd without quorum does not exit on SIGTERM for 5 s,
	// and its WAL is crash-safe.
	graceForFastHold = 300 * time.Millisecond
)

// New makes a guard.
func New(o Options) *Guard {
	f := ParseFlags(o.Command)
	return &Guard{
		o: o, flags: f, poke: make(chan struct{}, 1),
		see:    gatherer{paths: o.Paths, flags: f, agents: o.Agents},
		status: Status{State: Deciding, GuardPID: os.Getpid(), Since: time.Now()},
	}
}

// Run decides, starts etcd and stays its parent, until etcd ends by itself or a
// signal ends the guard. It returns the exit code of the process.
func (g *Guard) Run(ctx context.Context, signals <-chan os.Signal) int {
	stop := g.serve()
	defer stop()
	since, archived := time.Now(), 0
	var last Decision
	for {
		d := g.decide(ctx)
		if !d.same(last) {
			last, since = d, time.Now()
		}
		switch {
		case d.Archive && archived < 3:
			// Then everything is looked at anew: what follows a change is never
			// decided on what was seen before it.
			archived++
			if g.archive(d) {
				continue
			}
		case d.Runs():
			archived = 0
			code, ended := g.run(d, signals)
			if ended {
				return code
			}
			continue
		}
		if g.pause(time.Since(since), signals) {
			return 0
		}
		archived = 0
	}
}

// decide gathers and decides; a start is decided twice, the second time with
// the whole WAL read and with hold and intent as they are then.
func (g *Guard) decide(ctx context.Context) Decision {
	if h := readHold(g.o.Paths); h != nil {
		// A hold needs no facts, and lasts.
		d := Decide(Input{Hold: h})
		g.note(d, Saw{}, h.ID)
		return d
	}
	in, saw := g.see.gather(ctx)
	d := Decide(in)
	if d.Answer == Start {
		deep, err := g.see.local(ctx, nil, true)
		if err != nil {
			saw.Trouble = append(saw.Trouble, err.Error())
		}
		if deep.ClusterID == in.Local.ClusterID {
			deep.Epoch, deep.EpochKnown = in.Local.Epoch, in.Local.EpochKnown
		}
		in.Local, saw.Local = deep, deep
		in.Intent, in.Hold = readIntent(g.o.Paths), readHold(g.o.Paths)
		d = Decide(in)
	}
	id := ""
	if in.Hold != nil {
		id = in.Hold.ID
	}
	g.note(d, saw, id)
	return d
}

// note keeps a decision for the status, and says it where it is news.
func (g *Guard) note(d Decision, saw Saw, holdID string) {
	g.mu.Lock()
	news := !d.same(g.status.Decision.Decision)
	g.mu.Unlock()
	if news {
		g.o.Log.Info("decided", "answer", d.Answer, "archive", d.Archive, "reason", d.Reason, "waitsFor", d.WaitsFor, "saw", saw)
	}
	g.update(func(s *Status) {
		s.Decision = Decided{Decision: d, Saw: saw, At: time.Now()}
		s.State, s.HoldID, s.ChildPID, s.EtcdArgs = stateOf(d.Answer), holdID, 0, nil
	})
}

// update changes the status; where state or decision change, guard.json is
// written, too.
func (g *Guard) update(change func(*Status)) {
	g.mu.Lock()
	before := g.status
	change(&g.status)
	if g.status.State != before.State {
		g.status.Since = time.Now()
	}
	after := g.status
	g.mu.Unlock()
	if after.State == before.State && after.HoldID == before.HoldID && after.Decision.same(before.Decision.Decision) {
		return
	}
	if err := durable.WriteJSON(g.o.Paths.GuardStatus(), after, 0o600); err != nil {
		g.o.Log.Warn("the last decision could not be written", "error", err.Error())
	}
}

// Status is what the guard does now.
func (g *Guard) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

// archive sets the data aside: a rename, never a delete (I1).
func (g *Guard) archive(d Decision) bool {
	local := g.Status().Decision.Saw.Local
	info := datadir.ArchiveInfo{Reason: d.ArchiveReason, Node: g.flags.Name, At: time.Now()}
	if local.EpochKnown && local.Epoch >= 0 {
		info.Epoch = uint64(local.Epoch) //nolint:gosec // not negative
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	id, err := datadir.Inspect(ctx, g.flags.DataDir, datadir.InspectOptions{})
	if err == nil && (string(id.State) != string(local.State) || id.InUse || (local.ClusterID != "" && node.FormatID(id.ClusterID) != local.ClusterID)) {
		g.o.Log.Info("not set aside: the data dir has changed since it was looked at")
		return true
	}
	info.Identity = id
	e, err := datadir.Archive(g.flags.DataDir, info)
	switch {
	case errors.Is(err, datadir.ErrNothing):
		return true
	case err != nil:
		g.o.Log.Error("the data could not be set aside", "error", err.Error())
		d.Answer, d.Reason = Refuse, fmt.Sprintf("%s. But the data could not be set aside: %v", d.Reason, err)
		g.update(func(s *Status) { s.State, s.Decision.Decision = Refused, d })
		return false
	}
	g.o.Log.Info("set aside", "entry", e.Path, "reason", d.ArchiveReason)
	return true
}

// pause waits until it is worth deciding again; true if a signal ends the
// guard. A poke, a hold, its release and a change of the intent are each worth
// it at once.
func (g *Guard) pause(waited time.Duration, signals <-chan os.Signal) bool {
	d := pollEvery
	if waited > patience {
		d = min(decideAtLeastEvery, pollEvery+waited/60)
		d -= time.Duration(rand.Int64N(int64(d) / 4)) //nolint:gosec // jitter
	}
	until := time.NewTimer(d)
	defer until.Stop()
	tick := time.NewTicker(pollEvery / 4)
	defer tick.Stop()
	hold, intent := readHold(g.o.Paths), readIntent(g.o.Paths)
	for {
		if os.Getpid() == 1 {
			reapOrphans()
		}
		select {
		case s := <-signals:
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				g.o.Log.Info("ends, with no etcd running", "signal", s.String())
				return true
			}
		case <-g.poke:
			return false
		case <-until.C:
			return false
		case <-tick.C:
			if h := readHold(g.o.Paths); (h == nil) != (hold == nil) || readIntent(g.o.Paths) != intent {
				return false
			}
		}
	}
}
