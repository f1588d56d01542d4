//go:build integration

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/install"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// adoptees are three kubeadm nodes; their installers are what install.DecideKeep makes of what the real API says.
type adoptees struct {
	api *kubeapi.Client

	mu      sync.Mutex
	guarded []string // in the order in which it came to be
	broken  string   // this one's installer does nothing
}

func (n *adoptees) observe(ctx context.Context) (*agentpb.Observation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	says := install.AskAPI(n.api)(ctx)
	var members []*agentpb.Member
	for _, name := range []string{"cp-1", "cp-2", "cp-3"} {
		members = append(members, &agentpb.Member{Id: name, Name: name})
		if install.DecideKeep(name, says).Restart && !slices.Contains(n.guarded, name) && name != n.broken {
			n.guarded = append(n.guarded, name)
		}
	}
	ob := &agentpb.Observation{ClusterName: "prod"}
	for _, name := range []string{"cp-1", "cp-2", "cp-3"} {
		ob.Nodes = append(ob.Nodes, &agentpb.NodeState{
			Name: name, Guard: &agentpb.Guard{Installed: slices.Contains(n.guarded, name), State: "running"},
			Etcd: &agentpb.Etcd{
				Answers: true, HasLeader: true, MemberId: name, LeaderId: "cp-1", Version: "3.6.6", Quota: 2 << 30, Members: members, MembersLinearizable: true,
			},
		})
	}
	return ob, nil
}

// TestAdopt runs adoptions against a real API server (I6, I7, I20).
func TestAdopt(t *testing.T) {
	server := apiservertest.Start(t)
	server.InstallCRDs(t, "../../charts/ceo/crds")
	raw, err := yaml.Marshal(map[string]any{
		"current-context": "x",
		"contexts":        []any{map[string]any{"name": "x", "context": map[string]any{"cluster": "x", "user": "x"}}},
		"clusters":        []any{map[string]any{"name": "x", "cluster": map[string]any{"server": server.Config.Host, "certificate-authority": server.Config.CAFile}}},
		"users":           []any{map[string]any{"name": "x", "user": map[string]any{"token": server.Config.BearerToken}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := kubeapi.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	kubeadmNodes(t, server)
	nodes := &adoptees{api: api, broken: "cp-3"}
	var said bytes.Buffer
	adoptAs := func(o AdoptOptions) error {
		said.Reset()
		o.Format, o.Accept = Text, nil
		a := adoption{s: Streams{In: &bytes.Buffer{}, Out: &said, Err: &said, Name: "ceo"}, o: o, api: api, observe: nodes.observe, limit: 3 * time.Second, again: 50 * time.Millisecond}
		return a.run(etcdtest.Context(t))
	}
	yes := AdoptOptions{Yes: true, Confirm: "prod"}
	get := func() (c v1alpha1.EtcdCluster, err error) {
		err = api.Get(etcdtest.Context(t), clusterPath, &c)
		return c, err
	}

	for name, o := range map[string]AdoptOptions{"a dry run": {DryRun: true}, "nobody to ask": {}, "another cluster's name": {Yes: true, Confirm: "test"}} {
		if err := adoptAs(o); CodeOf(err) == ExitOK {
			t.Errorf("%s ends with %v", name, err)
		}
		if _, err := get(); !errors.Is(err, kubeapi.ErrNotFound) {
			t.Fatalf("%s made an EtcdCluster (%v)", name, err)
		}
	}

	// The installer of the second node does not act: it stops there, and takes the turn back.
	if err := adoptAs(yes); err == nil || !strings.Contains(err.Error(), "cp-3 is not under the guard") {
		t.Fatalf("%v\n%s", err, said.String())
	}
	c, err := get()
	if err != nil || c.Spec.ManagementState != v1alpha1.Unmanaged || c.Annotations[v1alpha1.AdoptingAnnotation] != "" {
		t.Fatalf("half way: %v %+v %v", err, c.Spec, c.Annotations)
	}
	if fmt.Sprint(nodes.guarded) != "[cp-2]" {
		t.Fatalf("half way, guarded: %v", nodes.guarded)
	}

	nodes.broken = ""
	if err := adoptAs(yes); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	c, err = get()
	if err != nil {
		t.Fatal(err)
	}
	if c.Spec.ManagementState != v1alpha1.Managed || c.Spec.Quota != "2Gi" || c.Spec.Timing.Profile != v1alpha1.TimingCustom ||
		c.Spec.Timing.HeartbeatMilliseconds != 200 || c.Spec.Timing.ElectionMilliseconds != 2000 || c.Spec.Etcd.Version != "" || len(c.Annotations) != 0 {
		t.Errorf("not what ran: %+v %v", c.Spec, c.Annotations)
	}
	if fmt.Sprint(nodes.guarded) != "[cp-2 cp-3 cp-1]" {
		t.Errorf("one at a time, the leader last: %v", nodes.guarded)
	}

	if err := adoptAs(yes); err != nil || !strings.Contains(said.String(), "nothing to do") {
		t.Errorf("again: %v\n%s", err, said.String())
	}
	if again, err := get(); err != nil || again.ResourceVersion != c.ResourceVersion {
		t.Errorf("again, it wrote: %v", err)
	}
}

func kubeadmNodes(t *testing.T, server *apiservertest.Server) {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cp-1", "cp-2", "cp-3"} {
		if _, err := c.CoreV1().Nodes().Create(etcdtest.Context(t), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CoreV1().Pods("kube-system").Create(etcdtest.Context(t), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "etcd-" + name, Labels: map[string]string{"component": "etcd", "tier": "control-plane"}},
			Spec: corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: "etcd", Image: "registry.k8s.io/etcd:3.6.6-0", Command: []string{
				"etcd", "--name=" + name, "--data-dir=/var/lib/etcd", "--heartbeat-interval=200", "--election-timeout=2000",
				"--initial-advertise-peer-urls=https://10.0.0.1:2380", "--advertise-client-urls=https://10.0.0.1:2379", "--listen-client-urls=https://127.0.0.1:2379",
			}}}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
