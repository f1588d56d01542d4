package recoveries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Controller writes an EtcdRecovery for the last recovery of each agent, once it is over.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdrecoveries,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdrecoveries/status,verbs=patch
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger

	// read are the nodes whose last recovery is known to be recorded, or that never ran one. It is forgotten with the
	// process, and for a node while a recovery is open on it.
	read map[string]bool
	open string
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-recoveries"

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	c.read = map[string]bool{}
	return apply.Singleton(mgr, "recoveries", c.Watch.Subscribe()).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{}, nil
	}
	r, on := o.OpenRecovery()
	c.tell(o, r, on)
	if r != nil {
		// What the restored API holds, and who writes to it, is settled when it has ended.
		delete(c.read, on)
		return ctrl.Result{}, nil
	}
	var ask []observe.Node
	for _, n := range o.Answering() {
		if n.Err == "" && !c.read[n.Name] {
			ask = append(ask, n)
		}
	}
	ended := make([]*Ended, len(ask))
	errs := make([]error, len(ask))
	var wg sync.WaitGroup
	for i, n := range ask {
		wg.Go(func() { ended[i], errs[i] = c.last(ctx, n) })
	}
	wg.Wait()
	var failed []error
	for i, n := range ask {
		switch {
		case errs[i] != nil:
			c.Log.Warn("the last recovery of a node cannot be read", "node", n.Name, "error", errs[i])
			continue
		case ended[i] != nil:
			if err := c.record(ctx, o, *ended[i]); err != nil {
				failed = append(failed, err)
				continue
			}
		}
		c.read[n.Name] = true
	}
	return ctrl.Result{}, errors.Join(failed...)
}

// readLimit bounds the reading of one journal.
const readLimit = 10 * time.Second

// last reads a node's last journal; nil where it never ran a recovery. One that is open is an error: it is asked again.
func (c *Controller) last(ctx context.Context, n observe.Node) (*Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	a, err := c.Agents.Agent(n.Address)
	if err != nil {
		return nil, err
	}
	s, err := a.WatchRecovery(ctx, &agentpb.WatchRecoveryRequest{})
	if err != nil {
		return nil, err
	}
	out := &Ended{Node: n.Name}
	for {
		e, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF) && out.Recovery == nil:
			return nil, errors.New("its journal is empty")
		case errors.Is(err, io.EOF):
			return out, nil
		case status.Code(err) == codes.NotFound:
			return nil, nil //nolint:nilnil // there is none
		case err != nil:
			return nil, err
		}
		if e.GetKind() == "note" && len(out.Notes) < maxNotes {
			out.Notes = append(out.Notes, e.GetText())
		}
		out.Recovery, out.At = e.GetRecovery(), e.GetAt().AsTime()
		if !Over(out.Recovery) {
			return nil, fmt.Errorf("recovery %s is %s", out.Recovery.GetId(), out.Recovery.GetState())
		}
	}
}

// maxNotes that a record repeats; the journal on the node has all.
const maxNotes = 16

// record writes it where it is not there yet. Creating an object and its status are two writes: a record whose status is
// still empty was cut off in between.
func (c *Controller) record(ctx context.Context, o observe.Observation, e Ended) error {
	want := Record(e, o.Membership().Lineage)
	have := &v1alpha1.EtcdRecovery{}
	err := c.Client.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		created := want.DeepCopy()
		if err := c.Client.Create(ctx, created); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("record recovery %s: %w", e.Recovery.GetId(), err)
		}
	case err != nil:
		return fmt.Errorf("record recovery %s: %w", e.Recovery.GetId(), err)
	case have.Status.RecoveryID != "":
		return nil
	}
	u, err := apply.Status(want, v1alpha1.GroupVersion.WithKind("EtcdRecovery"))
	if err != nil {
		return err
	}
	if err := c.Client.Status().Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return fmt.Errorf("record recovery %s: %w", e.Recovery.GetId(), err)
	}
	c.Log.Info("recovery recorded", "recovery", e.Recovery.GetId(), "state", e.Recovery.GetState(), "node", e.Node)
	return nil
}

// tell says that a recovery began and that it ended.
func (c *Controller) tell(o observe.Observation, r *agentpb.Recovery, on string) {
	if r.GetId() == c.open {
		return
	}
	was := c.open
	c.open = r.GetId()
	switch {
	case o.Cluster == nil:
	case c.open != "":
		c.Log.Warn("a recovery is open: the operator stands back", "recovery", c.open, "node", on)
		c.Events.Eventf(o.Cluster, nil, corev1.EventTypeWarning, v1alpha1.ReasonRecoveryOpen, "StandBack", "%s", o.StandBack())
	default:
		c.Log.Info("the recovery has ended: the operator goes on", "recovery", was)
		c.Events.Eventf(o.Cluster, nil, corev1.EventTypeNormal, "RecoveryEnded", "GoOn", "Recovery %s has ended", was)
	}
}
