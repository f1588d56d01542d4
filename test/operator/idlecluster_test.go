//go:build integration

package operator_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// still is a cluster that nobody wants anything of: real etcds, a kube-apiserver on them that writes down each request, and
// agents and an operator in processes of their own. Neither a kubelet nor a container runtime are there: the agents ask a
// double for the containers of a control-plane node.
type still struct {
	*world
	nodes    []*real
	agents   []*part
	guards   []*part
	operator *part
	waiting  *part // an operator that does not lead
	audit    string
}

// auditPolicy notes who asked for what, not what was said.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}`

// newStill brings it up, and waits until nothing is left to be done.
func newStill(t testing.TB, members int, every time.Duration) *still {
	t.Helper()
	s := &still{world: newWorldWithoutAPI(t)}
	s.nodes = s.newReal(t, members)
	s.adopted(t)
	s.guard(t)
	dir := t.TempDir()
	s.audit = filepath.Join(dir, "audit.log")
	policy := filepath.Join(dir, "policy.json")
	must(t, os.WriteFile(policy, []byte(auditPolicy), 0o600))
	c := &etcdtest.Cluster{PKI: s.nodes[0].pki}
	for _, n := range s.nodes {
		c.Members = append(c.Members, n.etcd)
	}
	// One for all nodes: each agent asks for it at its own address.
	api := apiservertest.Launch(t, apiservertest.Options{
		Servers: c.Endpoints(), PKI: c.PKI, Bind: "127.0.0.1:6443",
		Flags: []string{"--audit-log-path=" + s.audit, "--audit-policy-file=" + policy, "--bind-address=0.0.0.0"},
	})
	api.Etcd = c
	api.WaitReady(t)
	s.serve(t, api)
	s.grant(t)
	ca, err := os.ReadFile(s.api.Config.CAFile)
	must(t, err)
	for _, n := range s.nodes {
		n.runtime.Beside(12)
		must(t, os.WriteFile(filepath.Join(n.paths.KubernetesPKI(), "ca.crt"), ca, 0o600))
		p := &part{Name: "agent-" + n.name, Root: n.paths.Root, Own: n.address, CRI: n.cri(), Metrics: n.address + ":2383"}
		p.start(t)
		s.agents = append(s.agents, p)
		s.newNode(t, n.name, n.address)
	}
	s.untilGood(t)
	s.newCluster(t)
	s.operator = &part{Name: "operator", Kubeconfig: s.kubeconfig(t, dir), Certs: s.certs, Health: "127.0.0.1:2385", Metrics: "10.99.0.11:2384", Every: every}
	s.operator.start(t)
	s.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	s.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonAtRest)
	s.waitEndpoints(t, members, 0)
	s.waiting = &part{Name: "operator-waiting", Kubeconfig: s.operator.Kubeconfig, Certs: s.certs, Health: "127.0.0.1:2386", Metrics: "10.99.0.12:2384", Every: every}
	s.waiting.start(t)
	etcdtest.Eventually(t, "the other operator to be ready", func() (bool, string) {
		res, err := http.Get("http://" + s.waiting.Health + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK, res.Status
	})
	s.atRest(t)
	return s
}

// adopted records on each node which cluster it belongs to, as the installation does.
func (s *still) adopted(t testing.TB) {
	t.Helper()
	st, err := s.nodes[0].etcd.Client(t).Status(etcdtest.Context(t), s.nodes[0].etcd.ClientURL)
	must(t, err)
	for _, n := range s.nodes {
		c, err := node.Load(n.paths)
		must(t, err)
		c.Lineage = node.Lineage{{ClusterID: node.FormatID(st.Header.GetClusterId()), Since: time.Now().UTC()}}
		must(t, node.Save(n.paths, c))
	}
}

// guard starts the etcds anew below the guard, where there is the shipped one: one after the other would be slower, and
// proves nothing here.
func (s *still) guard(t testing.TB) {
	t.Helper()
	bin := os.Getenv(programs)
	if bin == "" {
		return
	}
	for i, n := range s.nodes {
		n.etcd.Stop(t)
		dir := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\nexec %s/ceo guard --root=%s --probe-address=127.0.0.1:%d -- %s/etcd \"$@\"\n", bin, n.paths.Root, 12390+i, etcdtest.BinDir(t))
		must(t, os.WriteFile(filepath.Join(dir, "etcd"), []byte(script), 0o700)) //nolint:gosec // a program
		n.etcd.Bin = dir
	}
	for _, n := range s.nodes {
		n.etcd.Start(t, "--initial-cluster="+n.name+"="+n.etcd.PeerURL)
	}
	for _, n := range s.nodes {
		n.etcd.WaitHealthy(t)
	}
}

// kubeconfig makes its holder the chart's ServiceAccount, with the chart's rights.
func (s *still) kubeconfig(t testing.TB, dir string) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: s.api.Config.Host, CertificateAuthority: s.api.Config.CAFile}
	c.AuthInfos["operator"] = &clientcmdapi.AuthInfo{
		Token: s.api.Config.BearerToken, Impersonate: account,
		ImpersonateGroups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
	}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "operator"}
	c.CurrentContext = "test"
	path := filepath.Join(dir, "kubeconfig")
	must(t, clientcmd.WriteToFile(*c, path))
	return path
}

// untilGood waits until each agent has recorded that what runs on its node is good.
func (s *still) untilGood(t testing.TB) {
	t.Helper()
	pool := agentclient.NewPool(s.operatorFiles())
	defer func() { _ = pool.Close() }()
	for _, n := range s.nodes {
		a, err := pool.Agent(n.address)
		must(t, err)
		etcdtest.Eventually(t, n.name+" to be good", func() (bool, string) {
			v, err := a.Inspect(etcdtest.Context(t), &agentpb.InspectRequest{Quick: true})
			return err == nil && v.GetRevisions().GetLastGood() != "", fmt.Sprint(v.GetRevisions(), err)
		})
	}
}

// looks is how often the operator has looked at the first node.
func (s *still) looks(t testing.TB) int {
	t.Helper()
	res, err := http.Get("http://" + s.operator.Metrics + "/metrics")
	if err != nil {
		return 0 // it is not up yet
	}
	defer func() { _ = res.Body.Close() }()
	const metric = `ceo_agent_inspect_seconds_count{node="cp-1"} `
	for l := bufio.NewScanner(res.Body); l.Scan(); {
		if v, ok := strings.CutPrefix(l.Text(), metric); ok {
			var n int
			_, err := fmt.Sscan(v, &n)
			must(t, err)
			return n
		}
	}
	return 0
}

// So many looks and so much time without a write are rest: longer than what comes once a minute, by an operator that looks as
// it is shipped, and than a client waits before it sends an event that failed again (10 s).
const (
	restLooks = 13
	restFor   = 30 * time.Second
)

// atRest waits until the operator has looked so often, and for so long, without writing.
func (s *still) atRest(t testing.TB) {
	t.Helper()
	for began := time.Now(); ; {
		if time.Since(began) > 10*time.Minute {
			t.Fatalf("it writes and writes: %v", writes(s.asked(t, began, time.Now())))
		}
		from, at := s.looks(t), time.Now()
		etcdtest.Eventually(t, "the operator to look", func() (bool, string) { return s.looks(t) >= from+restLooks && time.Since(at) >= restFor, "" })
		if w := writes(s.asked(t, at, time.Now())); len(w) == 0 {
			return
		} else if testing.Verbose() {
			t.Logf("not at rest yet: %v", w)
		}
	}
}

// request to the API server.
type request struct {
	Stage, Verb, RequestURI  string
	RequestReceivedTimestamp metav1.MicroTime
	ImpersonatedUser         struct{ Username string }
	ObjectRef                struct{ Resource, Subresource, Name string }
}

// asked are the operator's requests of a time. A watch counts when it is begun.
func (s *still) asked(t testing.TB, from, to time.Time) (out []request) {
	t.Helper()
	f, err := os.Open(s.audit)
	must(t, err)
	defer func() { _ = f.Close() }()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return out // the end, or a line that is not whole yet
		}
		var q request
		must(t, json.Unmarshal(line, &q))
		stage := "ResponseComplete"
		if q.Verb == "watch" {
			stage = "ResponseStarted"
		}
		if at := q.RequestReceivedTimestamp; q.ImpersonatedUser.Username == account && q.Stage == stage && at.After(from) && at.Time.Before(to) {
			out = append(out, q)
		}
	}
}

// writes are those that write, but for the leader's Lease, which is there to be written.
func writes(all []request) (out []string) {
	for _, q := range all {
		switch q.Verb {
		case "get", "list", "watch":
		default:
			if q.ObjectRef.Resource != "leases" {
				out = append(out, q.RequestReceivedTimestamp.Format("15:04:05.000")+" "+q.Verb+" "+q.RequestURI)
			}
		}
	}
	return out
}
