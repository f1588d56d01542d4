package apiservers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// Controller changes one kube-apiserver's list a look. It writes nothing to the API but events.
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
	// First are the controllers that go first.
	First []report.Reporter
	// Young is for how long a manifest is left alone; zero is Young. Settle is how long a kube-apiserver that was restarted
	// is waited for before others may go on; zero is Settle.
	Young, Settle time.Duration

	// Only Reconcile's, which runs once at a time.
	acted time.Time
	last  string
	why   string // that was logged last

	report.Board
}

// Limits.
const (
	placeLimit = 45 * time.Second
	// Young: between kube-apiserver's new manifest and its own end, `kubeadm upgrade` takes less than that.
	Young     = 3 * time.Minute
	Settle    = 2 * time.Minute
	lookAgain = 250 * time.Millisecond
)

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "apiservers", c.Watch.Subscribe(), &v1alpha1.EtcdCluster{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok, err := c.Watch.After(ctx, c.acted, c.Client)
	if !ok || err != nil {
		return ctrl.Result{}, err
	}
	cluster := o.Cluster
	if cluster == nil {
		c.Say(report.Report{})
		return ctrl.Result{}, nil
	}
	var first []report.Report
	for _, r := range c.First {
		first = append(first, r.Report())
	}
	young := c.Young
	if young == 0 {
		young = Young
	}
	v := viewOf(o, first, young, c.last)
	if c.last != "" && back(v, c.last) {
		c.last, v.Last = "", ""
	}
	d := Decide(v)
	said := d.report(v)
	said.Generation = cluster.Generation
	c.Say(said)
	if d.Reason != c.why {
		c.why = d.Reason
		c.Log.Info("kube-apiserver's etcd servers", "node", d.Node, "servers", d.Servers, "was", d.Was, "reason", cmp.Or(d.Reason, "nothing is to be changed"))
	}
	if d.Node == "" {
		return ctrl.Result{}, nil
	}
	done, ok := c.Turn.Take(o.At)
	if !ok {
		return ctrl.Result{}, nil // the next look
	}
	defer done()
	changed, err := c.place(ctx, o, d)
	c.acted = time.Now()
	if changed {
		c.last = d.Node
		c.Events.Eventf(cluster, nil, corev1.EventTypeNormal, "EtcdServersChanged", "PlaceEtcdServers",
			"kube-apiserver on %s is restarted with --etcd-servers=%s: %s", d.Node, strings.Join(d.Servers, ","), d.Reason)
		err = c.settled(ctx, o, d)
		c.acted = time.Now()
	}
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("kube-apiserver's etcd servers", "node", d.Node, "error", err)
		said.Progressing.Message += "; " + d.Node + " was asked: " + observe.Reason(err)
		c.Say(said)
	}
	return ctrl.Result{}, nil
}

// back: the node's kube-apiserver was seen to be ready with its list, or there is none any more.
func back(v View, name string) bool {
	i := slices.IndexFunc(v.Nodes, func(n Node) bool { return n.Name == name })
	return i < 0 || v.Nodes[i].Unknown == "" && (!v.Nodes[i].InService || v.Nodes[i].Ready && !v.Nodes[i].Restarting)
}

// report is what the status says of a decision.
func (d Decision) report(v View) report.Report {
	var r report.Report
	switch {
	case d.Node != "":
		r.Progressing = &report.Note{Reason: v1alpha1.ReasonChangingEtcdServers, Message: d.Reason}
	case d.Waits && v.Busy == "":
		r.Progressing = &report.Note{Reason: v1alpha1.ReasonWaiting, Message: d.Reason, Waits: true}
	}
	return r
}

func (c *Controller) place(ctx context.Context, o observe.Observation, d Decision) (changed bool, err error) {
	n, ok := o.Node(d.Node)
	if !ok {
		return false, fmt.Errorf("node %s is not known", d.Node)
	}
	a, err := c.Agents.Agent(n.Address)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, placeLimit)
	defer cancel()
	r, err := a.PlaceEtcdServers(ctx, &agentpb.PlaceEtcdServersRequest{Servers: d.Servers, Was: d.Was, ClusterId: o.Membership().ClusterID, Reason: d.Reason})
	return r.GetChanged(), err
}

// settled waits until the kube-apiserver is back with the list. If it is not in time, no other is touched until it is.
func (c *Controller) settled(ctx context.Context, o observe.Observation, d Decision) error {
	n, _ := o.Node(d.Node)
	a, err := c.Agents.Agent(n.Address)
	if err != nil {
		return err
	}
	limit := c.Settle
	if limit == 0 {
		limit = Settle
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, observe.InspectLimit)
		s, err := a.Inspect(one, &agentpb.InspectRequest{})
		end()
		if l := s.GetApiServer().GetEtcd(); err == nil && s.GetApiServer().GetReady() && l.GetError() == "" && !l.GetRestarting() {
			c.last = ""
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("kube-apiserver on %s is not back: %w", n.Name, ctx.Err()), err)
		case <-time.After(lookAgain):
		}
	}
}
