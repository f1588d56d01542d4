package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/pki"
)

// The ways that are compared.
const (
	wayCeo     = "ceo"
	wayPromote = "promote"
	wayVoter   = "voter"
)

var allWays = []string{wayCeo, wayPromote, wayVoter}

func parseWays(only string) ([]string, error) {
	if only == "" {
		return allWays, nil
	}
	ways := strings.Split(only, ",")
	for _, w := range ways {
		if !slices.Contains(allWays, w) {
			return nil, fmt.Errorf("no way %q: there are %s", w, strings.Join(allWays, ", "))
		}
	}
	return ways, nil
}

// stepLimit bounds one step of two members.
const stepLimit = 5 * time.Minute

// way changes the members to those of the first n nodes, and returns when it has nothing left to ask for.
type way interface {
	scale(ctx context.Context, n int) error
	stop() error
}

// byCeo tells the operator of Nodes, and leaves everything else to it.
type byCeo struct {
	all   []*machine
	api   *nodes
	tools tools
	// stop of the operator.
	end func() error
}

func (b *bench) newCeo(ctx context.Context, all []*machine, files pki.Files) (*byCeo, error) {
	w := &byCeo{all: all, api: &nodes{}, tools: b.tools}
	w.api.set(all[:1])
	if err := all[0].boot(b.tools); err != nil {
		return nil, err
	}
	// The guards of the others wait to be added, as after `ceo node install` or a start of the machine.
	for _, m := range all[1:] {
		if err := m.boot(b.tools); err != nil {
			return nil, err
		}
	}
	var err error
	w.end, err = b.operate(ctx, w.api, files, filepath.Join(b.scratch, "operator.log"))
	return w, err
}

func (w *byCeo) scale(_ context.Context, n int) error {
	w.api.set(w.all[:n])
	return nil
}

func (w *byCeo) stop() error { return w.end() }

// byHand changes the membership as fast as etcd takes it.
type byHand struct {
	all   []*machine
	now   int
	etcd  *clientv3.Client
	voter bool // no learners
}

func (b *bench) newByHand(all []*machine, etcd *clientv3.Client, voter bool) (*byHand, error) {
	return &byHand{all: all, now: 1, etcd: etcd, voter: voter}, all[0].bare()
}

func (w *byHand) scale(ctx context.Context, n int) error {
	for ; w.now < n; w.now++ {
		if err := w.add(ctx, w.all[w.now]); err != nil {
			return fmt.Errorf("add %s: %w", w.all[w.now].name, err)
		}
	}
	for ; w.now > n; w.now-- {
		if err := w.remove(ctx, w.all[w.now-1]); err != nil {
			return fmt.Errorf("remove %s: %w", w.all[w.now-1].name, err)
		}
	}
	return nil
}

func (w *byHand) stop() error { return nil }

// add is a join of kubeadm: etcd refuses it until its members have been connected for some seconds.
func (w *byHand) add(ctx context.Context, m *machine) error {
	var id uint64
	var members []*pb.Member
	err := until(ctx, "etcd to take the member", stepLimit, func(ctx context.Context) error {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		add := w.etcd.MemberAddAsLearner
		if w.voter {
			add = w.etcd.MemberAdd
		}
		r, err := add(call, []string{m.peerURL()})
		if err == nil {
			members = r.Members
			return nil
		}
		// The answer may be lost, and as a voter it has the quorum with it until it runs.
		if ms, lerr := listed(ctx, w.etcd); lerr == nil && slices.ContainsFunc(ms, func(x *pb.Member) bool { return x.PeerURLs[0] == m.peerURL() }) {
			members = ms
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var initial []string
	for _, x := range members {
		name := x.Name
		if x.PeerURLs[0] == m.peerURL() {
			name, id = m.name, x.ID
		}
		initial = append(initial, name+"="+x.PeerURLs[0])
	}
	if err := m.bare("--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-state=existing"); err != nil {
		return err
	}
	if w.voter {
		return until(ctx, "it to be ready", stepLimit, func(ctx context.Context) error { return ready(ctx, m) })
	}
	return until(ctx, "etcd to promote it", stepLimit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := w.etcd.MemberPromote(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil // it votes: an answer was lost
		}
		return err
	})
}

func (w *byHand) remove(ctx context.Context, m *machine) error {
	return until(ctx, "etcd to remove it", stepLimit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := w.etcd.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, x := range r.Members {
			if x.Name == m.name {
				_, err := w.etcd.MemberRemove(ctx, x.ID)
				return errors.Join(err, errors.New("it is removed now"))
			}
		}
		return nil
	})
}

// ready is etcd's own word for it: it has a leader, and reads by a quorum's consent.
func ready(ctx context.Context, m *machine) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.address+":2381/readyz", nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Body.Close()) }()
	if r.StatusCode != http.StatusOK {
		return errors.New(m.name + " is not ready: " + r.Status)
	}
	return nil
}

// copyDir copies a data dir: two levels of plain files.
func copyDir(from, to string) error { return os.CopyFS(to, os.DirFS(from)) }
