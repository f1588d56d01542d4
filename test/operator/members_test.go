//go:build integration

package operator_test

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// timeout is the shortest that the API takes.
const timeout = 30 * time.Second

// TestMembers is the life of a cluster of real etcds with the real operator, decision, lock and guard's decision.
func TestMembers(t *testing.T) {
	if !alone(t) {
		return
	}
	whole := t
	w := newWorld(t)
	var mu sync.Mutex
	var cluster string
	var sites []*site
	clusterID := func() string {
		mu.Lock()
		defer mu.Unlock()
		return cluster
	}
	others := func() []*site {
		mu.Lock()
		defer mu.Unlock()
		return append([]*site(nil), sites...)
	}
	boot := func(n int) *site {
		s := w.newSite(whole, n, clusterID, others)
		mu.Lock()
		sites = append(sites, s)
		mu.Unlock()
		s.boot(whole)
		return s
	}
	first := w.newSite(t, 1, clusterID, others)
	first.etcd.Start(t, "--initial-cluster=cp-1="+first.etcd.PeerURL, "--initial-cluster-token=members", "--initial-cluster-state=new")
	first.etcd.WaitHealthy(t)
	st, err := first.etcd.Client(t).Status(etcdtest.Context(t), first.etcd.ClientURL)
	must(t, err)
	cluster = node.FormatID(st.Header.GetClusterId())
	sites = append(sites, first)
	first.runs = true
	first.boot(t)
	w.newNode(t, "cp-1", first.address)
	must(t, w.client.Create(etcdtest.Context(t), &v1alpha1.EtcdCluster{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName},
		Spec:       v1alpha1.EtcdClusterSpec{UnhealthyTimeout: metav1.Duration{Duration: timeout}},
	}))

	// Two operators: one leads, and the other takes over when that ends half-way.
	stop := w.start(t)
	w.start(t)

	all := map[int]*site{}
	add := func(n int) {
		all[n] = boot(n)
		w.newNode(whole, all[n].name, all[n].address)
	}
	t.Run("1 to 3 (I7, I8)", func(t *testing.T) {
		add(2)
		add(3)
		waitMembers(t, others(), "cp-1 cp-2 cp-3")
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
		w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonAtRest)
	})
	t.Run("at rest there is no API write", func(t *testing.T) { w.noWriteAtRest(t, []*double{first.double}) })
	t.Run("3 to 5, and the operator ends half-way", func(t *testing.T) {
		add(4)
		add(5)
		etcdtest.Eventually(t, "the first of them to be added", func() (bool, string) {
			ms, got := listMembers(t, others())
			return len(ms) > 3, got
		})
		stop()
		waitMembers(t, others(), "cp-1 cp-2 cp-3 cp-4 cp-5")
	})
	t.Run("5 to 3: nodes that leave, one of which leads", func(t *testing.T) {
		ms := waitMembers(t, others(), "cp-1 cp-2 cp-3 cp-4 cp-5")
		etcdtest.Eventually(t, "cp-5 to lead", func() (bool, string) {
			c := first.etcd.Client(t)
			st, err := c.Status(etcdtest.Context(t), first.etcd.ClientURL)
			must(t, err)
			if st.Leader == st.Header.GetMemberId() {
				_, err = c.MoveLeader(etcdtest.Context(t), idOf(ms, "cp-5"))
			}
			return st.Leader == idOf(ms, "cp-5"), fmt.Sprint(err)
		})
		// Somebody works by hand, then a recovery is open (P17): nothing is changed.
		w.manage(t, v1alpha1.Unmanaged)
		w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonUnmanaged)
		w.deleteNode(t, "cp-4")
		w.deleteNode(t, "cp-5")
		stays := func() {
			from := first.lookCount()
			etcdtest.Eventually(t, "the operator to look", func() (bool, string) { return first.lookCount() > from+10, "" })
			waitMembers(t, others(), "cp-1 cp-2 cp-3 cp-4 cp-5")
		}
		stays()
		all[2].set(func() { all[2].recovery = &agentpb.Recovery{Id: "r1", State: "running"} })
		w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonRecoveryOpen)
		w.manage(t, v1alpha1.Managed)
		stays()
		all[2].set(func() { all[2].recovery = nil })
		waitMembers(t, others(), "cp-1 cp-2 cp-3")
		// What they hold is set aside, not deleted (I1).
		etcdtest.Eventually(t, "cp-5 to set its data aside", func() (bool, string) {
			_, err := os.Stat(all[5].paths.Root + "/archive-1")
			return err == nil, fmt.Sprint(err)
		})
	})
	t.Run("a wiped disk (P2)", func(t *testing.T) {
		before := waitMembers(t, others(), "cp-1 cp-2 cp-3")
		s := all[3]
		s.halt(t)
		must(t, os.Rename(s.etcd.DataDir, s.etcd.DataDir+"-wiped"))
		s.resume()
		etcdtest.Eventually(t, "cp-3 to be a new member", func() (bool, string) {
			ms, got := listMembers(t, others())
			id := idOf(ms, "cp-3")
			return id != 0 && id != idOf(before, "cp-3") && got == "cp-1 cp-2 cp-3", got
		})
	})
	t.Run("another address (P20)", func(t *testing.T) {
		before := waitMembers(t, others(), "cp-1 cp-2 cp-3")
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
		s := all[2]
		s.powerOff(t)
		const address = "10.99.0.16"
		s.set(func() {
			s.address = address
			s.etcd.ClientURL, s.etcd.PeerURL = "https://"+net.JoinHostPort(address, "2379"), "https://"+net.JoinHostPort(address, "2380")
		})
		must(t, node.Save(s.paths, s.config()))
		_, err := pki.EnsureAgent(s.paths, s.name, address, time.Now())
		must(t, err)
		s.serveAs(whole, s)
		w.moveNode(t, s.name, address)
		s.resume()
		etcdtest.Eventually(t, "the membership to have the new address", func() (bool, string) {
			ms, got := listMembers(t, others())
			for _, m := range ms {
				if m.Name == "cp-2" && m.PeerURLs[0] == s.etcd.PeerURL {
					return m.ID == idOf(before, "cp-2"), "it was replaced"
				}
			}
			return false, got
		})
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("a frozen member stays, whatever the timeout (I23)", func(t *testing.T) {
		before := waitMembers(t, others(), "cp-1 cp-2 cp-3")
		pid := all[3].etcd.Pid()
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved)
		for began := time.Now(); time.Since(began) < timeout+3*time.Second; {
			ms, got := listMembers(t, []*site{first})
			if ms != nil && (len(ms) != 3 || idOf(ms, "cp-3") != idOf(before, "cp-3")) {
				t.Fatalf("the members are %s", got)
			}
			from := first.lookCount()
			etcdtest.Eventually(t, "the operator to look", func() (bool, string) { return first.lookCount() > from, "" })
		}
		must(t, syscall.Kill(pid, syscall.SIGCONT))
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("a machine lost for good, and another one in its place", func(t *testing.T) {
		all[3].powerOff(t)
		began := time.Now()
		w.deleteNode(t, "cp-3")
		w.newNode(whole, "cp-4", all[4].address)
		etcdtest.Eventually(t, "the lost member to go", func() (bool, string) {
			ms, got := listMembers(t, others())
			return ms != nil && idOf(ms, "cp-3") == 0, got
		})
		if after := time.Since(began); after < timeout {
			t.Errorf("it was given up after %s, and the timeout is %s (I23)", after, timeout)
		}
		waitMembers(t, others(), "cp-1 cp-2 cp-4")
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("each change is an event", func(t *testing.T) {
		k, err := kubernetes.NewForConfig(w.api.Config)
		must(t, err)
		list, err := k.EventsV1().Events("").List(etcdtest.Context(t), metav1.ListOptions{})
		must(t, err)
		count := map[string]int{}
		for _, e := range list.Items {
			count[e.Reason] += seriesOf(e)
		}
		// One may be missing: the operator that ended half-way has not heard of what it had asked for.
		for reason, least := range map[string]int{"AddingLearner": 5, "Promoted": 5, "RemovedMember": 3, "UpdatedPeerURL": 1, "MovedLeader": 1} {
			if count[reason] < least {
				t.Errorf("%d events %s, want at least %d: %v", count[reason], reason, least, count)
			}
		}
	})
}

func seriesOf(e eventsv1.Event) int {
	if e.Series != nil {
		return int(e.Series.Count)
	}
	return 1
}

func (w *world) manage(t *testing.T, state v1alpha1.ManagementState) {
	t.Helper()
	etcdtest.Eventually(t, "managementState to be set", func() (bool, string) {
		c := w.cluster(t)
		c.Spec.ManagementState = state
		err := w.client.Update(etcdtest.Context(t), &c)
		return err == nil, fmt.Sprint(err)
	})
}

func (w *world) deleteNode(t *testing.T, name string) {
	t.Helper()
	must(t, w.client.Delete(etcdtest.Context(t), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

func (w *world) moveNode(t *testing.T, name, address string) {
	t.Helper()
	var n corev1.Node
	must(t, w.client.Get(etcdtest.Context(t), client.ObjectKey{Name: name}, &n))
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	must(t, w.client.Status().Update(etcdtest.Context(t), &n))
}
