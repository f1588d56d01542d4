package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/bench/workplace"
)

// Sample is one run of one way.
type Sample struct {
	Way    string           `json:"way"`
	Steps  map[Step]Figures `json:"steps"`
	Failed map[string]int   `json:"failed,omitempty"` // what clients were told before they tried again
	Writes int              `json:"writes"`           // acknowledged, and found in the end
}

const (
	// rest is how long the load runs before the first step and between two.
	rest = 4 * time.Second
	// after is how long what follows a step is counted to it: a promotion's stall comes after the promotion.
	after = time.Second
	// tell: a stall from here on is told with its time.
	tell = 300 * time.Millisecond
)

// once runs one way through all steps.
func (b *bench) once(ctx context.Context, name string) (s Sample, err error) {
	b.say("%s", name)
	s = Sample{Way: name, Steps: map[Step]Figures{}}
	ca, err := newAuthority()
	if err != nil {
		return s, err
	}
	files, err := ca.operator(b.scratch)
	if err != nil {
		return s, err
	}
	var all []*machine
	for n := 1; n <= most; n++ {
		all = append(all, b.node(n))
	}
	defer func() {
		for _, m := range all {
			if err != nil && ctx.Err() == nil {
				fmt.Fprint(os.Stderr, m.lastWords())
			}
			m.off()
			err = errors.Join(err, os.RemoveAll(m.paths.Root))
		}
	}()
	for _, m := range all {
		if err := m.prepare(ca, all, b.base.clusterID); err != nil {
			return s, err
		}
	}
	if err := copyDir(b.base.dataDir, all[0].dataDir()); err != nil {
		return s, err
	}
	if err := errors.Join(os.Chmod(all[0].dataDir(), 0o700), workplace.Flush(b.scratch)); err != nil { //nolint:gosec // a folder
		return s, err
	}
	etcd, err := dial(all[0].paths, all[0].clientURL())
	if err != nil {
		return s, err
	}
	defer func() { _ = etcd.Close() }()
	var w way
	if name == wayCeo {
		w, err = b.newCeo(ctx, all, files)
	} else {
		w, err = b.newByHand(all, etcd, name == wayVoter)
	}
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := until(ctx, "the first member to serve", stepLimit, func(ctx context.Context) error { return ready(ctx, all[0]) }); err != nil {
		return s, err
	}
	return s, b.steps(ctx, w, all, etcd, &s)
}

func (b *bench) steps(ctx context.Context, w way, all []*machine, etcd *clientv3.Client, s *Sample) error {
	loaded, end := context.WithCancel(ctx)
	defer end()
	l, err := b.newLoad(loaded, all[0])
	if err != nil {
		return err
	}
	spans := map[Step]span{}
	pause(ctx, rest) // connections are made
	from := l.now()
	pause(ctx, rest)
	spans[AtRest] = span{from, l.now()}
	for _, step := range []struct {
		name    Step
		members int
	}{{ToThree, 3}, {ToFive, 5}, {Back, 3}} {
		from := l.now()
		if err := b.step(ctx, w, l, all[:step.members], etcd); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		to := l.now()
		pause(ctx, after)
		spans[step.name] = span{from, to + after}
		b.say("  %s after %.1f s", step.name, (to - from).Seconds())
		pause(ctx, rest)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	end()
	writes := l.end()
	for step, in := range spans {
		f := judge(writes, in)
		if step != AtRest {
			f.Seconds -= after.Seconds()
		}
		s.Steps[step] = f
		b.say("  %s: %.1f s, longest stall %.3f s, pause %.3f s, p99 %.3f s of %d writes", step, f.Seconds, f.Stall, f.Pause, f.P99, f.Writes)
	}
	for _, x := range stalls(writes, tell) {
		// On the clock of the lines above, so that it can be seen what went on then.
		b.say("  stalled for %.3f s at %.1f s", (x.Ack - x.Call).Seconds(), l.begun.Add(x.Call).Sub(b.started).Seconds())
	}
	s.Failed, s.Writes = l.failed, len(writes)
	return kept(ctx, etcd, len(writes))
}

// step has the members changed, and tells the load who votes, until they are the ones wanted and each of them is ready.
func (b *bench) step(ctx context.Context, w way, l *load, want []*machine, etcd *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		err := w.scale(ctx, len(want))
		if err != nil {
			cancel() // there is nothing to wait for
		}
		asked <- err
	}()
	told := ""
	err := until(ctx, fmt.Sprintf("%d voters", len(want)), stepLimit, func(ctx context.Context) error {
		ms, err := listed(ctx, etcd)
		if err != nil {
			return err
		}
		voters, others := split(ms)
		if now := strings.Join(voters, " "); now != told && now != "" {
			told = now
			l.voters(voters)
		}
		if len(voters) != len(want) || others > 0 {
			return fmt.Errorf("%d voters, %d others", len(voters), others)
		}
		for _, m := range want {
			if !slices.Contains(voters, m.clientURL()) {
				return fmt.Errorf("%s does not vote", m.name)
			}
			if err := ready(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	cancel()
	if asked := <-asked; asked != nil && err != nil {
		return errors.Join(err, asked)
	}
	return err
}

// listed asks the first member alone, and no quorum: a look must not wait for what it is to see.
func listed(ctx context.Context, etcd *clientv3.Client) ([]*pb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := etcd.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	return r.Members, nil
}

// split gives the client URLs of the voters that have started, and how many members are anything else.
func split(ms []*pb.Member) (voters []string, others int) {
	for _, m := range ms {
		if m.IsLearner || len(m.ClientURLs) == 0 {
			others++
			continue
		}
		voters = append(voters, m.ClientURLs[0])
	}
	slices.Sort(voters)
	return voters, others
}

// kept compares what was acknowledged with what is there: fast and wrong does not count.
func kept(ctx context.Context, etcd *clientv3.Client, acked int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if r.Count != int64(acked) {
		return fmt.Errorf("%d writes were acknowledged, and %d are there", acked, r.Count)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
