package settings

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Controller places settings on nodes. It writes nothing to the API but events.
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger

	// said is what was last said of each node that refuses: once is enough.
	said map[string]string
}

// limit bounds a call.
const limit = 5 * time.Second

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	c.said = map[string]string{}
	return apply.Singleton(mgr, "settings", c.Watch.Subscribe(), &v1alpha1.EtcdCluster{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler. What is not placed now is seen by the next look.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{}, nil
	}
	cluster := &v1alpha1.EtcdCluster{}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, cluster); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	o.Cluster = cluster // the spec may be newer than the look
	want, behind := Decide(o)
	errs := make([]error, len(behind))
	var wg sync.WaitGroup
	for i, n := range behind {
		wg.Go(func() { errs[i] = c.place(ctx, n, For(n, want)) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctrl.Result{}, nil //nolint:nilerr // this operator ends
	}
	refused := map[string]string{}
	for i, n := range behind {
		if errs[i] == nil {
			c.Log.Info("settings placed", "node", n.Name, "backups", want.GetBackupLocation())
			continue
		}
		refused[n.Name] = observe.Reason(errs[i])
		if c.said[n.Name] != refused[n.Name] {
			c.Log.Warn("settings are not placed", "node", n.Name, "error", errs[i])
		}
	}
	c.tell(cluster, behind, errs, refused)
	c.said = refused
	return ctrl.Result{}, nil
}

// tell makes an event of a node that refuses, once. One that does not answer is the status controller's to say.
func (c *Controller) tell(cluster *v1alpha1.EtcdCluster, behind []observe.Node, errs []error, refused map[string]string) {
	var words []string
	for i, n := range behind {
		switch status.Code(errs[i]) {
		case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			continue
		}
		if c.said[n.Name] != refused[n.Name] {
			words = append(words, n.Name+": "+refused[n.Name])
		}
	}
	if len(words) > 0 {
		c.Events.Eventf(cluster, nil, corev1.EventTypeWarning, "SettingsRefused", "PlaceSettings", "what the specification says of backups is not known on %s", strings.Join(words, "; "))
	}
}

func (c *Controller) place(ctx context.Context, n observe.Node, want *agentpb.Settings) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a, err := c.Agents.Agent(n.Address)
	if err != nil {
		return fmt.Errorf("the agent of %s: %w", n.Name, err)
	}
	_, err = a.PlaceSettings(ctx, &agentpb.PlaceSettingsRequest{Settings: want})
	return err
}
