package members

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

var changes = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "ceo_membership_changes_total", Help: "Changes of etcd's membership that this operator made, by kind.",
}, []string{"kind"})

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() { metrics.Registry.MustRegister(changes) }

// Controller has one change of the membership made at a time, where there is an EtcdCluster. What it knows lies in the
// observation and in etcd; of its own it keeps only for how long it has seen what.
type Controller struct {
	Client client.Reader
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	Now    func() time.Time

	memory memory
	// acted is when the last call ended, whatever came of it. What was seen before that is not acted on any more.
	acted time.Time
	// made is when the last change was made.
	made    time.Time
	refused string // the last refusal that was told as an event
	logged  string // the last failure that was logged

	mu         sync.Mutex // guards what follows
	doing      progress
	generation int64 // of the specification that was decided on
	shown      shown
}

// shown is what the doing was made of, and when.
type shown struct {
	kind   etcd.Kind
	node   string
	member uint64
	at     time.Time
}

// callLimit bounds one change, with the time that another holder of the lock is waited for.
const callLimit = 20 * time.Second

// underWay is for how long after a change the looks are hastened while anything is left to be done or waited for. A learner
// is promoted once it has applied what the leader had one look before (I8): with five seconds between two looks it may be as
// much behind, and the step from one voter to two then holds all writes up until it has caught up. What takes longer than
// this, as a learner whose machine does not start, is looked at as often as ever.
const underWay = time.Minute

func hastened(a etcd.Action, sinceMade time.Duration) bool {
	return a.Kind != etcd.Settled && sinceMade >= 0 && sinceMade < underWay
}

// refresh is how often the words of one and the same wait are renewed: they say for how long it lasts, and each time is a
// write.
const refresh = time.Minute

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "members", c.Watch.Subscribe()).Complete(c)
}

// Report implements report.Reporter.
func (c *Controller) Report() report.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := report.Report{Generation: c.generation}
	if d := c.doing; d.Reason != "" {
		r.Progressing = &report.Note{Reason: d.Reason, Message: d.Message, Waits: !d.Active}
	}
	return r
}

// Reconcile implements reconcile.Reconciler. Each look is used once; a change that failed is decided anew at the next.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok || o.At.Equal(c.memory.at) {
		return ctrl.Result{}, nil
	}
	// The spec may be newer than the look: whoever has just set Unmanaged means now.
	cluster := &v1alpha1.EtcdCluster{}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, cluster); err != nil {
		c.show(0, gathered{}, etcd.Action{Kind: etcd.Settled})
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	o.Cluster = cluster
	var g gathered
	g, c.memory = gather(o, c.memory)
	a := etcd.Action{Kind: etcd.Wait, Reason: g.unknown}
	if g.unknown == "" {
		a = etcd.Decide(g.view)
	}
	if a.Changes() && !o.At.After(c.acted) {
		return ctrl.Result{}, nil // it was seen before the last change
	}
	c.show(cluster.Generation, g, a)
	if a.Changes() {
		c.act(ctx, o, g, a)
	}
	if hastened(a, c.Now().Sub(c.made)) {
		c.Watch.Hasten()
	}
	return ctrl.Result{}, nil
}

// show keeps the words for others. They change with what is waited for, and not with each second of it.
func (c *Controller) show(generation int64, g gathered, a etcd.Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation = generation
	now := shown{a.Kind, a.Node, a.MemberID, c.Now()}
	d := doing(g, a)
	before := c.shown
	same := before.kind == now.kind && before.node == now.node && before.member == now.member && d.Active == c.doing.Active && d.Reason == c.doing.Reason
	if age := now.at.Sub(before.at); same && age >= 0 && age < refresh {
		return
	}
	if d.Message != c.doing.Message {
		c.Log.Info("members", "decision", a.Kind, "node", a.Node, "member", strconvID(a.MemberID), "reason", a.Reason)
	}
	c.doing, c.shown = d, now
}

func strconvID(id uint64) string { return fmt.Sprintf("%x", id) }

// act has the change made by one agent, which takes the lock and looks again itself. Whether it was made is seen at the
// next look; an answer that is lost is no failure.
func (c *Controller) act(ctx context.Context, o observe.Observation, g gathered, a etcd.Action) {
	name, ok := through(g, a)
	n, known := o.Node(name)
	log := c.Log.With("kind", a.Kind, "node", a.Node, "member", strconvID(a.MemberID), "through", name)
	if !ok || !known {
		log.Warn("no node of a healthy voter can be asked for a change of the membership", "reason", a.Reason)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	agent, err := c.Agents.Agent(n.Address)
	if err == nil {
		_, err = agent.ChangeMembers(ctx, request(g, a))
	}
	c.acted = c.Now()
	if err != nil {
		c.failed(o, a, log, name, err)
		return
	}
	c.refused, c.logged, c.made = "", "", c.acted
	changes.WithLabelValues(string(a.Kind)).Inc()
	log.Info("the membership was changed", "reason", a.Reason)
	e := told[a.Kind]
	c.Events.Eventf(o.Cluster, nil, corev1.EventTypeNormal, e.reason, e.action, "%s: %s", e.text, a.Reason)
}

// failed tells a refusal once: the agent saw something that the operator did not.
func (c *Controller) failed(o observe.Observation, a etcd.Action, log *slog.Logger, through string, err error) {
	s, _ := status.FromError(err)
	text := fmt.Sprintf("%s through %s: %s", a.Kind, through, s.Message())
	if text != c.logged {
		// It is tried again at each look: etcd wants its members to have been connected for some seconds, for one.
		log.Warn("the membership was not changed; it is tried again", "reason", a.Reason, "error", err)
	}
	c.logged = text
	c.mu.Lock()
	c.doing.Message, c.shown = a.Reason+"; not done yet: "+s.Message(), shown{}
	c.mu.Unlock()
	if s.Code() != codes.FailedPrecondition && s.Code() != codes.InvalidArgument || text == c.refused {
		return
	}
	c.refused = text
	c.Events.Eventf(o.Cluster, nil, corev1.EventTypeWarning, "ChangeRefused", "ChangeMembers", "The agent on %s refused %s: %s", through, a.Kind, s.Message())
}

// told is what an event says of each change.
var told = map[etcd.Kind]struct{ reason, action, text string }{
	etcd.AddLearner:    {"AddingLearner", "AddLearner", "A learner was added"},
	etcd.Promote:       {"Promoted", "Promote", "A learner votes now"},
	etcd.Remove:        {"RemovedMember", "Remove", "A member was removed"},
	etcd.MoveLeader:    {"MovedLeader", "MoveLeader", "The leadership was handed over"},
	etcd.UpdatePeerURL: {"UpdatedPeerURL", "UpdatePeerURL", "A member's address was updated"},
}
