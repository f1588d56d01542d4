package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/operator/members"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/pki"
)

// nodes is what the operator reads of an API server: the control-plane Nodes, and an EtcdCluster that asks for nothing.
type nodes struct {
	mu  sync.Mutex
	all []*machine
}

func (s *nodes) set(all []*machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append([]*machine(nil), all...)
}

// Get implements client.Reader.
func (s *nodes) Get(_ context.Context, key kube.ObjectKey, o kube.Object, _ ...kube.GetOption) error {
	c, ok := o.(*v1alpha1.EtcdCluster)
	if !ok {
		return fmt.Errorf("no %T here", o)
	}
	*c = v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: key.Name, Generation: 1}}
	return nil
}

// List implements client.Reader. Every Node has the label of control-plane nodes.
func (s *nodes) List(_ context.Context, l kube.ObjectList, _ ...kube.ListOption) error {
	list, ok := l.(*corev1.NodeList)
	if !ok {
		return nil // there are none
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.all {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.name}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.address}}
		list.Items = append(list.Items, n)
	}
	return nil
}

// told says what the operator did.
type told struct{ say func(string, ...any) }

// Eventf implements events.EventRecorder.
func (t told) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	t.say("  %s: %s", reason, fmt.Sprintf(note, args...))
}

// operate runs the operator's looks and its members controller until the returned function is called: what it looks at,
// how often, what it decides and what it asks which agent for is all the product's.
func (b *bench) operate(ctx context.Context, api *nodes, files pki.Files, logFile string) (stop func() error, err error) {
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // of this program
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(f, nil))
	pool := agentclient.NewPool(files)
	watch := &observe.Watch{
		Gatherer: &observe.Gatherer{API: api, Agents: pool, Log: log, Now: time.Now, Grace: observe.Grace, Limit: observe.InspectLimit},
		Every:    observe.Every, CataloguesEvery: observe.CataloguesEvery,
	}
	c := &members.Controller{Client: api, Watch: watch, Agents: pool, Events: told{b.say}, Log: log, Now: time.Now}
	looks := watch.Subscribe()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = watch.Start(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-looks:
			}
			if _, err := c.Reconcile(ctx, ctrl.Request{}); err != nil && ctx.Err() == nil {
				log.Error("reconcile", "error", err)
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		return errors.Join(failed, pool.Close(), f.Close())
	}, nil
}
