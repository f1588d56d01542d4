package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup/keep"
)

// Limits of the looks. An agent bounds its own look at its node with 3 s.
const (
	InspectLimit   = 4 * time.Second
	CatalogueLimit = 30 * time.Second
	// Grace is for how long an agent's last answer stands in for one that is late.
	Grace = 15 * time.Second
)

// Agents gives the agent at an address; client.Pool does.
type Agents interface {
	Agent(host string) (agentpb.AgentClient, error)
}

// Gatherer makes observations. It is used by one goroutine at a time; the calls it makes run side by side, each with its
// own limit, so that one agent that hangs costs no other its turn (P21).
type Gatherer struct {
	API    client.Reader
	Agents Agents
	Log    *slog.Logger
	Now    func() time.Time
	Grace  time.Duration
	Limit  time.Duration

	// last is what each node said last. It outlives the Node in the API: an open journal must not be lost sight of.
	last map[string]seen
}

type seen struct {
	node Node
	at   time.Time
}

// controlPlane is the selector where no EtcdCluster says another.
var controlPlane = map[string]string{"node-role.kubernetes.io/control-plane": ""}

// Gather looks at everything but the catalogues once.
func (g *Gatherer) Gather(ctx context.Context) (Observation, error) {
	o := Observation{At: g.Now()}
	c := &v1alpha1.EtcdCluster{}
	selector := client.MatchingLabels(controlPlane)
	switch err := g.API.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, c); {
	case err == nil:
		o.Cluster = c
		if len(c.Spec.NodeSelector) > 0 {
			selector = c.Spec.NodeSelector
		}
	case !apierrors.IsNotFound(err):
		return o, fmt.Errorf("read the EtcdCluster: %w", err)
	}
	var schedules v1alpha1.EtcdBackupScheduleList
	if err := g.API.List(ctx, &schedules); err != nil {
		return o, fmt.Errorf("list the EtcdBackupSchedules: %w", err)
	}
	o.ProofAge = proofAge(schedules.Items)
	var list corev1.NodeList
	if err := g.API.List(ctx, &list, selector); err != nil {
		return o, fmt.Errorf("list the control-plane Nodes: %w", err)
	}
	if g.last == nil {
		g.last = map[string]seen{}
	}
	nodes := map[string]Node{}
	for _, n := range list.Items {
		nodes[n.Name] = Node{Name: n.Name, Address: internalIP(n), Wanted: true}
	}
	if o.Cluster != nil && len(o.Cluster.Spec.NodeSelector) > 0 {
		var all corev1.NodeList
		if err := g.API.List(ctx, &all, client.MatchingLabels(controlPlane)); err != nil {
			return o, fmt.Errorf("list the control-plane Nodes: %w", err)
		}
		for _, n := range all.Items {
			if _, ok := nodes[n.Name]; !ok {
				nodes[n.Name] = Node{Name: n.Name, Address: internalIP(n), LeftOut: true}
			}
		}
	}
	for name, s := range g.last {
		if _, ok := nodes[name]; !ok {
			nodes[name] = Node{Name: name, Address: s.node.Address}
		}
	}
	looked := g.look(ctx, nodes)
	// What an agent names as its peer and nobody else does, is asked as well, once more: no peers of peers.
	if named := peersOf(looked); len(named) > 0 {
		looked = append(looked, g.look(ctx, named)...)
	}
	o.Nodes = g.remember(looked)
	return o, nil
}

// look asks the agents of all nodes side by side.
func (g *Gatherer) look(ctx context.Context, nodes map[string]Node) []Node {
	out := make([]Node, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n)
	}
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i].State, out[i].Err = g.inspect(ctx, out[i]) })
	}
	wg.Wait()
	return out
}

func (g *Gatherer) inspect(ctx context.Context, n Node) (*agentpb.NodeState, string) {
	if n.Address == "" {
		return nil, "its Node has no InternalIP"
	}
	ctx, cancel := context.WithTimeout(ctx, g.Limit)
	defer cancel()
	a, err := g.Agents.Agent(n.Address)
	if err != nil {
		return nil, "its agent cannot be asked: " + err.Error()
	}
	start := time.Now()
	s, err := a.Inspect(ctx, &agentpb.InspectRequest{})
	if err != nil {
		agentLook(n.Name, time.Since(start), false)
		if g.last[n.Name].node.Err == "" {
			g.Log.Warn("an agent does not answer", "node", n.Name, "address", n.Address, "error", err)
		}
		return nil, Reason(err)
	}
	agentLook(n.Name, time.Since(start), true)
	if s.GetName() != n.Name {
		return nil, fmt.Sprintf("at its address %s answers the agent of %s", n.Address, s.GetName())
	}
	return s, ""
}

// Reason is why an agent does not answer, without what differs from look to look: it is shown in a status, and a status
// that changes is a write.
func Reason(err error) string {
	s, _ := status.FromError(err)
	switch {
	case strings.Contains(s.Message(), "authentication handshake failed"):
		return "its agent and the operator do not accept each other's certificates"
	case s.Code() == codes.Unavailable, s.Code() == codes.DeadlineExceeded, s.Code() == codes.Canceled:
		return "its agent does not answer"
	}
	return "its agent says: " + s.Message()
}

// peersOf are the peers that agents name and that were not looked at.
func peersOf(looked []Node) map[string]Node {
	out := map[string]Node{}
	for _, n := range looked {
		for _, p := range n.State.GetPeers() {
			known := slices.ContainsFunc(looked, func(x Node) bool { return x.Name == p.GetName() })
			if !known && p.GetAddress() != "" {
				out[p.GetName()] = Node{Name: p.GetName(), Address: p.GetAddress()}
			}
		}
	}
	return out
}

// remember lets the last answer stand in for one that is late, and forgets a node that is neither wanted, nor answers,
// nor is named by anybody.
func (g *Gatherer) remember(looked []Node) []Node {
	now := g.Now()
	named := map[string]bool{}
	for _, n := range looked {
		for _, p := range n.State.GetPeers() {
			named[p.GetName()] = true
		}
	}
	out := make([]Node, 0, len(looked))
	for _, n := range looked {
		old, ok := g.last[n.Name]
		s := seen{n, now}
		if n.State == nil {
			s.at = old.at
			if age := now.Sub(old.at); ok && old.node.State != nil && age >= 0 && age <= g.Grace {
				n.State = old.node.State
			}
			s.node.State = n.State
		}
		if !n.Wanted && n.State == nil && !named[n.Name] {
			delete(g.last, n.Name)
			forgetNode(n.Name)
			continue
		}
		if ok && old.node.Err != "" && n.Err == "" {
			g.Log.Info("an agent answers again", "node", n.Name)
		}
		g.last[n.Name] = s
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Catalogues reads the catalogue of every node: with a store in a folder each has its own.
func (g *Gatherer) Catalogues(ctx context.Context, nodes []Node) Backups {
	results := make([]keep.Listing, len(nodes))
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { results[i], errs[i] = Catalogue(ctx, g.Agents, n.Address) })
	}
	wg.Wait()
	var b Backups
	for i, l := range results {
		if errs[i] != nil {
			b.Err = nodes[i].Name + ": " + Reason(errs[i])
			continue
		}
		b.Read = true
		for _, e := range l.Entries { // newest first, and ids sort by age
			if e.Good() && (b.Newest == nil || e.ID > b.Newest.ID) {
				b.Newest = &e
			}
			if e.Good() && e.Proof != nil && (b.Proven == nil || e.Proof.At.After(b.Proven.Proof.At)) {
				b.Proven = &e
			}
		}
	}
	return b
}

// Catalogue reads one node's.
func Catalogue(ctx context.Context, agents Agents, address string) (keep.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, CatalogueLimit)
	defer cancel()
	var l keep.Listing
	a, err := agents.Agent(address)
	if err != nil {
		return l, err
	}
	r, err := a.ListBackups(ctx, &agentpb.ListBackupsRequest{})
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(r.GetListing(), &l); err != nil {
		return l, fmt.Errorf("the catalogue that the agent gave: %w", err)
	}
	return l, nil
}

func internalIP(n corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}
