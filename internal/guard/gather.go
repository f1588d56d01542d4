package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
)

// PeerAgents asks the agents of the other nodes which clusters they know of.
type PeerAgents interface {
	// Lineages asks all peers at once, within the context, and gives the
	// answers that came.
	Lineages(ctx context.Context, self node.Config) []PeerLineage
}

// PeerLineage is one agent's answer.
type PeerLineage struct {
	Node    string
	Lineage node.Lineage
}

// Saw is what a decision was made of, for the status and the log.
type Saw struct {
	Local    Local    `json:"local"`
	Peers    Peers    `json:"peers"`
	Recorded Recorded `json:"recorded"`
	// Answers and Silent are the endpoints of etcd's that were asked.
	Answers []View   `json:"answers,omitempty"`
	Silent  []string `json:"silent,omitempty"`
	// Agents are the nodes whose agents answered.
	Agents []string `json:"agents,omitempty"`
	// Trouble is what could not be read on this node.
	Trouble []string `json:"trouble,omitempty"`
}

// askWithin bounds all questions to peers; each is asked at the same time as
// the others (P21).
const askWithin = 2 * time.Second

type gatherer struct {
	paths  node.Paths
	flags  Flags
	agents PeerAgents
}

// gather sees everything that a decision needs. What others say is asked first,
// what lies on this node is read last: a hold or a swapped data dir must not
// be missed because a peer was slow.
func (g gatherer) gather(ctx context.Context) (Input, Saw) {
	var saw Saw
	trouble := func(err error) {
		if err != nil {
			saw.Trouble = append(saw.Trouble, err.Error())
		}
	}
	self, err := node.Load(g.paths)
	trouble(err)
	if self.Lineage.Validate() != nil {
		self.Lineage = nil
	}
	before, _ := g.local(ctx, self.Lineage, false)

	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var lineages []PeerLineage
	var wg sync.WaitGroup
	if g.agents != nil {
		wg.Go(func() { lineages = g.agents.Lineages(ctx, self) })
	}
	views, silent, err := g.askEtcds(ctx, g.endpoints(self, before.Members))
	wg.Wait()
	trouble(err)
	saw.Answers, saw.Silent = views, silent

	lineage, conflict := self.Lineage, ""
	for _, l := range lineages {
		saw.Agents = append(saw.Agents, l.Node)
		merged, _, err := lineage.Merge(l.Lineage)
		if err != nil {
			conflict = fmt.Sprintf("this node and %s contradict each other: %v", l.Node, err)
			continue
		}
		lineage = merged
	}

	in := Input{Self: Self{Name: g.flags.Name, PeerURL: g.flags.PeerURL}, Flags: g.flags.Problem, Token: token()}
	in.Local, err = g.local(context.WithoutCancel(ctx), lineage, false)
	trouble(err)
	in.Peers = MergeViews(views, lineage, in.Local.MemberID)
	if conflict != "" {
		in.Peers.Conflict = conflict
	}
	if cur, ok := lineage.Current(); ok {
		in.Recorded = Recorded{Known: true, Epoch: cur.Epoch, ClusterID: cur.ClusterID}
	}
	in.Intent, in.Hold = readIntent(g.paths), readHold(g.paths)
	saw.Local, saw.Peers, saw.Recorded = in.Local, in.Peers, in.Recorded
	return in, saw
}

// local inspects the data dir. A deep look reads the whole WAL: done once, just
// before a start, and not each second of a wait.
func (g gatherer) local(ctx context.Context, lineage node.Lineage, deep bool) (Local, error) {
	id, err := datadir.Inspect(ctx, g.flags.DataDir, datadir.InspectOptions{WALTail: deep})
	if err != nil {
		return Local{State: LocalUnreadable, Why: err.Error()}, err
	}
	l := Local{State: LocalState(id.State), Why: id.Why, InUse: id.InUse}
	if id.ClusterID != 0 {
		l.ClusterID, l.MemberID = node.FormatID(id.ClusterID), node.FormatID(id.MemberID)
		l.Epoch, l.EpochKnown = lineage.EpochOf(l.ClusterID)
	}
	for _, m := range id.Members {
		member := Member{ID: node.FormatID(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner, Started: m.Name != ""}
		l.Members = append(l.Members, member)
		if member.ID == l.MemberID {
			l.Name, l.PeerURLs = m.Name, m.PeerURLs
		}
	}
	return l, nil
}

// endpoints are the client URLs of every other member that was ever heard of.
func (g gatherer) endpoints(self node.Config, members []Member) []string {
	var all []string
	seen := map[string]bool{"": true}
	for _, own := range g.flags.ClientURLs {
		seen[own] = true
	}
	add := func(url string) {
		if !seen[url] {
			seen[url] = true
			all = append(all, url)
		}
	}
	addPeer := func(url string) {
		if url != g.flags.PeerURL {
			add(g.flags.clientURL(url))
		}
	}
	for _, p := range self.Peers {
		if p.ClientURL == "" {
			addPeer(p.PeerURL)
			continue
		}
		add(p.ClientURL)
	}
	me := Self{Name: g.flags.Name, PeerURL: g.flags.PeerURL}
	for _, m := range members {
		switch {
		case me.owns(m.Name, m.PeerURLs):
		case len(m.ClientURLs) > 0:
			add(m.ClientURLs[0])
		default:
			for _, u := range m.PeerURLs {
				addPeer(u)
			}
		}
	}
	// The manifest's peers only where nothing better is known: their client
	// URLs are guessed.
	if len(all) == 0 {
		for _, u := range g.flags.InitialPeers {
			addPeer(u)
		}
	}
	return all
}

func (g gatherer) askEtcds(ctx context.Context, endpoints []string) (views []View, silent []string, err error) {
	config, err := client.HealthcheckTLS(g.paths.EtcdPKI())
	if err != nil {
		return nil, endpoints, fmt.Errorf("no peer can be asked: %w", err)
	}
	answers := make([]client.Membership, len(endpoints))
	errs := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, e := range endpoints {
		wg.Go(func() { answers[i], errs[i] = client.Ask(ctx, e, config) })
	}
	wg.Wait()
	for i, e := range endpoints {
		if errs[i] != nil {
			// Refused or timed out: both say only that it did not answer (I23).
			silent = append(silent, e)
			continue
		}
		v := View{Endpoint: e, ClusterID: node.FormatID(answers[i].ClusterID), Linearizable: answers[i].Linearizable}
		for _, m := range answers[i].Members {
			v.Members = append(v.Members, Member{ID: node.FormatID(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner, Started: m.Name != ""})
		}
		views = append(views, v)
	}
	return views, silent, nil
}

// readHold is the hold that is in force, nil without one. A hold that cannot be
// read is a hold: somebody wanted etcd stopped.
func readHold(p node.Paths) *node.Hold {
	h, err := durable.ReadJSON[node.Hold](p.Hold())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &node.Hold{ID: "unreadable", Reason: fmt.Sprintf("%v; if nothing holds etcd, remove that file", err)}
	}
	return &h
}

// readIntent reads what the agent allows. One that cannot be read permits
// nothing.
func readIntent(p node.Paths) node.Intent {
	i, err := durable.ReadJSON[node.Intent](p.Intent())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return node.Intent{}
	case err != nil:
		return node.Intent{RestorePending: fmt.Sprintf("unknown (%v)", err)}
	}
	return i
}

func token() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return "ceo-" + hex.EncodeToString(b[:])
}
