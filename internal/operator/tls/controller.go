package tls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

// Controller changes etcd's CA, one action a look. All that it keeps is a CA that not every node has yet, with its key: that
// goes to the nodes over mTLS, and nowhere else.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters,verbs=get;list;watch,resourceNames=cluster
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	// Turn is shared with whoever restarts something, too.
	Turn *observe.Turn
	// RollOuts says what the rollouts controller does: it goes first.
	RollOuts report.Reporter
	// Settle is how long what was restarted is waited for before others may go on; zero is Settle.
	Settle time.Duration

	// Only Reconcile's, which runs once at a time.
	acted time.Time
	made  pki.Pair
	name  string // fingerprint of made
	told  v1alpha1.CARotationPhase

	mu   sync.Mutex
	said report.Report
}

// Limits of the calls.
const (
	stepLimit    = 10 * time.Second
	restartLimit = time.Minute
	// Settle: the kubelet's back-off of a container that was restarted twice in ten minutes is a part of it.
	Settle    = 2 * time.Minute
	lookAgain = 250 * time.Millisecond
)

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "tls", c.Watch.Subscribe(), &v1alpha1.EtcdCluster{}).Complete(c)
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
	o.Cluster = cluster // the spec may be newer than the look
	p := Decide(View{Observation: o, Made: c.name, RollOut: c.rollOut()})
	said := p.Report(cluster.Status.CARotation)
	said.Generation = cluster.Generation
	c.say(said)
	c.tell(cluster, said.CARotation)
	if !p.Active && c.name != "" {
		c.forget() // it is on every node by now
	}
	if !p.Acts() {
		return ctrl.Result{}, nil
	}
	if p.Make {
		// No node is asked for anything: the next look, with this one, decides.
		return ctrl.Result{RequeueAfter: time.Millisecond}, c.makeCA(cluster)
	}
	if p.Restarts() {
		done, ok := c.Turn.Take(o.At)
		if !ok {
			return ctrl.Result{}, nil
		}
		defer done()
	}
	c.Log.Info("change of etcd's CA", "action", p.Action.Kind, "node", p.Action.Node, "ca", p.Action.CA, "phase", p.Action.Phase, "reason", p.Action.Reason)
	err := c.act(ctx, o, p)
	c.acted = time.Now()
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("change of etcd's CA: tried again", "action", p.Action.Kind, "node", p.Action.Node, "error", err)
		said.Progressing.Message += "; " + p.Action.Node + " was asked: " + observe.Reason(err)
		c.say(said)
	}
	return ctrl.Result{}, nil
}

func (c *Controller) rollOut() string {
	if c.RollOuts == nil {
		return ""
	}
	if n := c.RollOuts.Report().Progressing; n != nil && !n.Waits {
		return n.Message
	}
	return ""
}

func (c *Controller) makeCA(cluster *v1alpha1.EtcdCluster) error {
	pair, err := pki.MakeCA(time.Now(), cluster.Spec.TLS.CALifetime.Duration)
	if err != nil {
		return err
	}
	cert, err := pki.ParseCertificate(pair.Cert)
	if err != nil {
		return err
	}
	c.made, c.name = pair, pki.Fingerprint(cert)
	c.Log.Info("a new CA is made for etcd", "ca", c.name, "until", cert.NotAfter)
	return nil
}

func (c *Controller) forget() { c.made, c.name = pki.Pair{}, "" }

func (c *Controller) act(ctx context.Context, o observe.Observation, p Plan) error {
	n, ok := o.Node(p.Action.Node)
	if !ok {
		return fmt.Errorf("node %s is not known", p.Action.Node)
	}
	a, err := c.Agents.Agent(n.Address)
	if err != nil {
		return err
	}
	if p.MoveTo != 0 {
		return moveLeader(ctx, a, p, o.Membership().ClusterID)
	}
	req := &agentpb.RotateCARequest{Step: string(p.Action.Kind), Fingerprint: p.Action.CA, Reason: p.Action.Reason, ClusterId: o.Membership().ClusterID}
	if p.Action.Kind == rotation.Trust {
		req.Reason = p.For
		if p.Action.CA == c.name {
			req.Certificate, req.Key = c.made.Cert, c.made.Key
		}
	}
	limit := stepLimit
	if p.Restarts() {
		limit = restartLimit
	}
	asked, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err = a.RotateCA(asked, req); err != nil || !p.Restarts() {
		return err
	}
	return c.settled(ctx, a, n)
}

// settled waits until what was restarted is back. If it is not in time, the next look says what is wrong, and nothing else is
// restarted for as long as it is.
func (c *Controller) settled(ctx context.Context, a agentpb.AgentClient, n observe.Node) error {
	limit := c.Settle
	if limit == 0 {
		limit = Settle
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	was := n.State.GetApiServer().GetReady()
	for {
		one, end := context.WithTimeout(ctx, observe.InspectLimit)
		s, err := a.Inspect(one, &agentpb.InspectRequest{})
		end()
		if e := s.GetEtcd(); err == nil && e.GetAnswers() && e.GetHasLeader() && (!was || s.GetApiServer().GetReady()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("what was restarted on %s is not back: %w", n.Name, ctx.Err()), err)
		case <-time.After(lookAgain):
		}
	}
}

func moveLeader(ctx context.Context, a agentpb.AgentClient, p Plan, clusterID string) error {
	ctx, cancel := context.WithTimeout(ctx, restartLimit)
	defer cancel()
	req := &agentpb.ChangeMembersRequest{
		Kind: "move-leader", MemberId: node.FormatID(p.MemberID), To: node.FormatID(p.MoveTo), ClusterId: clusterID, Reason: p.Action.Reason,
	}
	for _, m := range p.Cluster.Members {
		req.DecidedOn = append(req.DecidedOn, &agentpb.DecidedMember{Id: node.FormatID(m.ID), Learner: m.Learner, PeerUrl: m.PeerURL, Health: m.Health.String()})
	}
	_, err := a.ChangeMembers(ctx, req)
	return err
}

// tell makes an event of each phase that is entered. What it was before is read from the API, so that an operator that
// starts anew does not say it again.
func (c *Controller) tell(cluster *v1alpha1.EtcdCluster, now *v1alpha1.CARotationStatus) {
	was := c.told
	if b := cluster.Status.CARotation; was == "" && b != nil {
		was = b.Phase
	}
	if now == nil || now.Phase == was {
		return
	}
	if was == "" && now.Phase == v1alpha1.CAComplete {
		c.told = now.Phase
		return // an old one, and a new EtcdCluster
	}
	c.told = now.Phase
	c.Events.Eventf(cluster, nil, corev1.EventTypeNormal, v1alpha1.ReasonRotatingCA, "RotateCA", "the change of etcd's CA (%s) is at %s", now.Reason, now.Phase)
}
