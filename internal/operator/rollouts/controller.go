package rollouts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/rollout"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// Controller rolls out, one action a look. It keeps nothing that a new operator would miss: what lies on the nodes says
// how far it is.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters,verbs=get;list;watch,resourceNames=cluster
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Agents observe.Agents
	Log    *slog.Logger
	// Bound that a node has; zero is Bound.
	Bound time.Duration
	// Turn is shared with whoever restarts something, too.
	Turn *observe.Turn

	// Only Reconcile's, which runs once at a time.
	acted    time.Time
	snapshot string
	refused  refusedTarget

	mu   sync.Mutex
	said report.Report
}

// refusedTarget is a revision that an agent would not place, because of its image.
type refusedTarget struct {
	target string
	note   report.Note
	until  time.Time
}

// Limits of the calls. Placing may pull an image.
const (
	placeLimit    = 6 * time.Minute
	moveLimit     = 30 * time.Second
	snapshotLimit = time.Hour
	// askAgain is how soon an image that was missing is asked for again, and a snapshot that failed.
	askAgain = time.Minute
)

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "rollouts", c.Watch.Subscribe(), &v1alpha1.EtcdCluster{}).Complete(c)
}

// Report implements report.Reporter.
func (c *Controller) Report() report.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

func (c *Controller) say(r report.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = r
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	// A look that was begun before the last action ended does not show what that did.
	if !ok || o.At.Sub(c.acted) <= 0 {
		return ctrl.Result{}, nil
	}
	cluster := &v1alpha1.EtcdCluster{}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, cluster); err != nil {
		c.say(report.Report{})
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	// The spec may be newer than the look.
	o.Cluster = cluster
	bound := c.Bound
	if bound == 0 {
		bound = Bound
	}
	p := Decide(View{Observation: o, Snapshot: c.snapshot, Bound: bound})
	if c.refused.target != p.Target {
		c.refused = refusedTarget{}
	}
	if !p.Upgrading || c.snapshot != p.Content.Version {
		c.snapshot = "" // the next upgrade has one of its own
	}
	var refused *report.Note
	if c.refused.target != "" && p.Action.Kind != rollout.Done {
		refused = &c.refused.note
	}
	said := p.Report(cluster.Status.Rollout, refused)
	said.Generation = cluster.Generation
	c.say(said)
	if refused != nil && time.Now().Before(c.refused.until) && p.Action.Kind != rollout.RollBack {
		return ctrl.Result{}, nil
	}
	if !p.Action.Changes() && !p.Snapshot {
		return ctrl.Result{}, nil
	}
	if p.Action.Changes() {
		done, ok := c.Turn.Take(o.At)
		if !ok {
			return ctrl.Result{}, nil // the next look
		}
		defer done()
	}
	c.Log.Info("roll-out", "action", p.Action.Kind, "node", p.Action.Node, "revision", p.Action.Revision, "snapshot", p.Snapshot, "reason", p.Action.Reason)
	err := c.act(ctx, o, p)
	c.acted = time.Now()
	if err != nil && ctx.Err() == nil {
		c.failed(p, err)
	}
	return ctrl.Result{}, nil
}

func (c *Controller) act(ctx context.Context, o observe.Observation, p Plan) error {
	switch {
	case p.Snapshot:
		return c.takeSnapshot(ctx, o, p)
	case p.Action.Kind == rollout.MoveLeader:
		return c.moveLeader(ctx, o, p)
	}
	return c.place(ctx, o, p)
}

// failed keeps an image that is missing as news; everything else is tried again with the next look.
func (c *Controller) failed(p Plan, err error) {
	c.Log.Warn("roll-out: tried again", "action", p.Action.Kind, "node", p.Action.Node, "error", err)
	switch {
	case status.Code(err) == codes.NotFound && p.Action.Kind == rollout.Restart:
		c.refused = refusedTarget{p.Target, report.Note{Reason: v1alpha1.ReasonImageMissing, Message: p.Action.Node + ": " + observe.Reason(err)}, time.Now().Add(askAgain)}
	case p.Snapshot:
		c.refused = refusedTarget{p.Target, report.Note{Reason: v1alpha1.ReasonBackupFailed, Message: "the snapshot before the upgrade: " + observe.Reason(err)}, time.Now().Add(askAgain)}
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.said.Progressing; n != nil {
			said := *n
			said.Message += "; " + p.Action.Node + " was asked: " + observe.Reason(err)
			c.said.Progressing = &said
		}
	}
}

func (c *Controller) agent(o observe.Observation, name string) (agentpb.AgentClient, error) {
	n, ok := o.Node(name)
	if !ok {
		return nil, fmt.Errorf("node %s is not known", name)
	}
	return c.Agents.Agent(n.Address)
}

func (c *Controller) place(ctx context.Context, o observe.Observation, p Plan) error {
	ctx, cancel := context.WithTimeout(ctx, placeLimit)
	defer cancel()
	a, err := c.agent(o, p.Action.Node)
	if err != nil {
		return err
	}
	req := &agentpb.PlaceRevisionRequest{
		RollBack: p.Action.Kind == rollout.RollBack, Ill: p.Action.Ill, Unlocked: p.Action.Unlocked,
		ClusterId: o.Membership().ClusterID, Reason: p.Action.Reason,
	}
	if !req.GetRollBack() {
		req.Revision = p.Target
		if req.Content, err = json.Marshal(p.Content); err != nil {
			return err
		}
	}
	_, err = a.PlaceRevision(ctx, req)
	return err
}

func (c *Controller) moveLeader(ctx context.Context, o observe.Observation, p Plan) error {
	ctx, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	a, err := c.agent(o, p.Action.Node)
	if err != nil {
		return err
	}
	_, err = a.ChangeMembers(ctx, &agentpb.ChangeMembersRequest{
		Kind: string(rollout.MoveLeader), MemberId: node.FormatID(p.Action.MemberID), To: node.FormatID(p.Action.To),
		ClusterId: o.Membership().ClusterID, DecidedOn: decidedOn(p.Cluster), Reason: p.Action.Reason,
	})
	return err
}

func decidedOn(v etcd.View) []*agentpb.DecidedMember {
	var out []*agentpb.DecidedMember
	for _, m := range v.Members {
		out = append(out, &agentpb.DecidedMember{Id: node.FormatID(m.ID), Learner: m.Learner, PeerUrl: m.PeerURL, Health: m.Health.String()})
	}
	return out
}

// takeSnapshot has a backup made, which reads it back from its store and verifies it. A new operator makes another one.
func (c *Controller) takeSnapshot(ctx context.Context, o observe.Observation, p Plan) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	n, ok := snapshotNode(o)
	if !ok {
		return errors.New("no healthy member was seen to take a snapshot of")
	}
	a, err := c.Agents.Agent(n)
	if err != nil {
		return err
	}
	s, err := a.CreateBackup(ctx, &agentpb.CreateBackupRequest{})
	if err != nil {
		return err
	}
	for {
		e, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the agent ended without a result")
		case err != nil:
			return err
		case len(e.GetResult()) == 0:
			continue
		}
		var m keep.Made
		if err := json.Unmarshal(e.GetResult(), &m); err != nil {
			return fmt.Errorf("the agent's result: %w", err)
		}
		if m.Manifest.ReadBack == "" {
			return fmt.Errorf("backup %s was not read back and verified (I17)", m.Manifest.ID)
		}
		c.Log.Info("a snapshot was taken and verified for the upgrade", "backup", m.Manifest.ID, "version", p.Content.Version)
		c.snapshot = p.Content.Version
		c.Watch.ReadCatalogues()
		return nil
	}
}

// snapshotNode is the address of a healthy follower's node, or the leader's.
func snapshotNode(o observe.Observation) (string, bool) {
	for _, role := range []v1alpha1.MemberRole{v1alpha1.RoleFollower, v1alpha1.RoleLeader} {
		for _, m := range o.Membership().Members {
			if n, ok := o.Node(m.Node); ok && m.Role == role && m.Health == etcd.Healthy && n.State != nil && n.Err == "" {
				return n.Address, true
			}
		}
	}
	return "", false
}
