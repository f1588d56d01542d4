//go:build integration

package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/apiservertest"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// HashStore as the real agent does it, of a real etcd.
func (d *double) HashStore(ctx context.Context, req *agentpb.HashStoreRequest) (*agentpb.HashStoreReply, error) {
	tls, err := etcdclient.HealthcheckTLS(d.paths.EtcdPKI())
	if err != nil {
		return nil, err
	}
	c, err := etcdclient.Dial([]string{d.etcd.ClientURL}, tls)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	h, err := c.HashKV(ctx, d.etcd.ClientURL, req.GetRevision())
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &agentpb.HashStoreReply{Revision: h.Revision, CompactRevision: h.CompactRevision, Hash: h.Hash}, nil
}

// fillUp writes the same few keys until etcd refuses, for real.
func fillUp(t *testing.T, c *clientv3.Client) {
	t.Helper()
	value := strings.Repeat("x", 1<<19)
	for i := range 2000 {
		if _, err := c.Put(etcdtest.Context(t), fmt.Sprintf("/fill/%d", i%4), value); err != nil {
			if !strings.Contains(err.Error(), "database space exceeded") {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the quota was never reached")
}

// waitMended waits until there is no alarm, and the API takes writes.
func (w *world) waitMended(t *testing.T, c *clientv3.Client) {
	t.Helper()
	etcdtest.Eventually(t, "the alarm to be mended", func() (bool, string) {
		r, err := c.AlarmList(etcdtest.Context(t))
		return err == nil && len(r.Alarms) == 0, fmt.Sprint(r, err)
	})
	etcdtest.Eventually(t, "the API to take writes", func() (bool, string) {
		o := w.cluster(t)
		o.Annotations = map[string]string{"written": fmt.Sprint(o.ResourceVersion)}
		err := w.client.Update(etcdtest.Context(t), &o)
		return err == nil, fmt.Sprint(err)
	})
}

// TestNoSpaceOfTheAPI: the etcd of the operator's own API server is full, and takes no Lease any more. The operator that
// leads mends it; and so does one that cannot lead because of it. The agent is the real one.
func TestNoSpaceOfTheAPI(t *testing.T) {
	if !alone(t) {
		return
	}
	w := &world{certs: t.TempDir()}
	w.newCA(t)
	w.newOperatorCerts(t)
	h := w.newHost(t, "cp-1", "127.0.0.1")
	h.etcd.MetricsURL = "http://127.0.0.1:2381"
	h.etcd.Args = []string{"--quota-backend-bytes=67108864"}
	h.etcd.Start(t, "--initial-cluster=cp-1="+h.etcd.PeerURL, "--initial-cluster-token=full", "--initial-cluster-state=new")
	h.etcd.WaitHealthy(t)
	w.serve(t, apiservertest.StartOn(t, &etcdtest.Cluster{Members: []*etcdtest.Member{h.etcd}, PKI: h.pki}))
	h.runAgent(t)
	w.newNode(t, "cp-1", "127.0.0.1")
	w.newCluster(t)
	c := h.etcd.Client(t)
	stop := w.start(t)
	w.waitCondition(t, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonQuorumServes)

	fillUp(t, c)
	w.waitMended(t, c)
	w.waitEvent(t, "AlarmMended")
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)

	stop()
	fillUp(t, c)
	// The API can be read and not written.
	o := w.cluster(t)
	o.Annotations = map[string]string{"refused": "x"}
	if err := w.client.Update(etcdtest.Context(t), &o); err == nil {
		t.Fatal("the API takes writes")
	}
	w.start(t)
	w.waitMended(t, c)
	// And now it leads.
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
}

func (w *world) waitEvent(t *testing.T, reason string) {
	t.Helper()
	k, err := kubernetes.NewForConfig(w.api.Config)
	must(t, err)
	etcdtest.Eventually(t, "the event "+reason, func() (bool, string) {
		list, err := k.EventsV1().Events("").List(etcdtest.Context(t), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var seen []string
		for _, e := range list.Items {
			if e.Reason == reason {
				return true, ""
			}
			seen = append(seen, eventText(e))
		}
		return false, strings.Join(seen, "\n")
	})
}

func eventText(e eventsv1.Event) string { return e.Reason + ": " + e.Note }

// TestHashMismatch: a member's database is changed behind its back. All are healthy, no alarm is raised, and the
// comparison finds it.
func TestHashMismatch(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	nodes := w.newCluster3(t)
	c := nodes[0].etcd.Client(t)
	for i := range 20 {
		_, err := c.Put(etcdtest.Context(t), fmt.Sprintf("/k/%d", i), "right")
		must(t, err)
	}
	stop := w.start(t)
	w.newCluster(t)
	etcdtest.Eventually(t, "the members to be compared", func() (bool, string) {
		o := w.cluster(t)
		return o.Status.LastHashCheck != nil, fmt.Sprint(o.Status.Conditions)
	})
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
	stop()
	nodes[2].etcd.Stop(t)
	etcdtest.Falsify(t, nodes[2].etcd.DataDir, "right", "wrong")
	nodes[2].etcd.Start(t)
	nodes[2].etcd.WaitHealthy(t)
	// What it said before does not hold it back for hours.
	o := w.cluster(t)
	o.Status.LastHashCheck = nil
	must(t, w.client.Status().Update(etcdtest.Context(t), &o))
	w.start(t)
	got := w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonHashMismatch)
	if !strings.Contains(got.Status.Summary, "cp-3") || strings.Contains(got.Status.Summary, "cp-1") {
		t.Errorf("it blames another: %s", got.Status.Summary)
	}
	w.waitEvent(t, v1alpha1.ReasonHashMismatch)
	// It does not fence by itself: all three go on.
	if got.Status.Ready != "3/3" {
		t.Errorf("ready: %s", got.Status.Ready)
	}
}
