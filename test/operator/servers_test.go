//go:build integration

package operator_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// serving is a node with a real kube-apiserver beside its real etcd and its real agent. What the kubelet does is done here:
// it runs what the manifest says.
type serving struct {
	*real
	t          *testing.T
	cert, key  string
	mu         sync.Mutex
	api        *apiservertest.Server
	runs       string // hash of its manifest
	starts     int
	violations *[]string
	all        *[]*serving
}

func (w *world) newServing3(t *testing.T) []*serving {
	t.Helper()
	raw, err := os.ReadFile("../../internal/staticpod/testdata/kube-apiserver-kubeadm-1.37.yaml")
	must(t, err)
	var out []*serving
	var wrong []string
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, r := range w.newReal3(t) {
		s := &serving{real: r, t: t, violations: &wrong, all: &out}
		s.cert, s.key = w.apiServerCert(t, r.paths, r.address)
		s.put(t, strings.NewReplacer("https://127.0.0.1:2379", r.etcd.ClientURL, "192.0.2.11", r.address).Replace(string(raw)))
		must(t, staticpod.Place(r.paths.Manifests(), staticpod.EtcdFile, []byte(strings.ReplaceAll(r.manifest(t), "10.90.0.11", r.address))))
		out = append(out, s)
	}
	for _, s := range out {
		s.runReal(t)
		wg.Go(func() { s.kubelet(ctx) })
		w.newNode(t, s.name, s.address)
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, x := range wrong {
			t.Error(x)
		}
	})
	for _, s := range out {
		s.ready(t)
	}
	return out
}

func (s *serving) put(t *testing.T, manifest string) {
	t.Helper()
	must(t, staticpod.Place(s.paths.Manifests(), staticpod.APIServerFile, []byte(manifest)))
}

func (s *serving) apiManifest() []byte {
	raw, err := os.ReadFile(filepath.Join(s.paths.Manifests(), staticpod.APIServerFile))
	if err != nil {
		return nil
	}
	return raw
}

func (s *serving) list() []string {
	l, _ := staticpod.EtcdServers(s.apiManifest())
	return l
}

func (s *serving) kubelet(ctx context.Context) {
	for ctx.Err() == nil {
		if raw := s.apiManifest(); raw == nil {
			s.end()
		} else if h := staticpod.HashManifest(raw); h != s.hash() {
			s.end()
			s.restart(raw, h)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	s.end()
}

func (s *serving) hash() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

func (s *serving) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil {
		s.api.Kill()
		s.api, s.runs = nil, ""
		s.runtime.RunPod("kube-apiserver", nil)
	}
}

func (s *serving) restart(raw []byte, hash string) {
	servers, err := staticpod.EtcdServers(raw)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starts++; s.starts > 1 {
		for _, o := range *s.all {
			if o != s && o.state() != "200 OK" && !strings.Contains(o.state(), "500") {
				*s.violations = append(*s.violations, fmt.Sprintf("kube-apiserver on %s was restarted while that on %s does not serve: %s", s.name, o.name, o.state()))
			}
		}
	}
	s.api = apiservertest.Launch(s.t, apiservertest.Options{
		Servers: servers, PKI: s.pki, Bind: net.JoinHostPort(s.address, "6443"),
		Cert: s.cert, Key: s.key, CA: filepath.Join(s.paths.KubernetesPKI(), "ca.crt"),
	})
	s.runs = hash
	s.runtime.RunPod("kube-apiserver", map[string]string{"kubernetes.io/config.hash": hash[:8]})
}

// state is what its /readyz says; a kube-apiserver without a lock to wait for is asked at its address.
func (s *serving) state() string {
	if !s.mu.TryLock() {
		return "500 being restarted"
	}
	api := s.api
	s.mu.Unlock()
	if api == nil {
		return "none runs"
	}
	return readyz(api)
}

func (s *serving) ready(t *testing.T) {
	t.Helper()
	etcdtest.Eventually(t, "kube-apiserver on "+s.name+" to be ready", func() (bool, string) { st := s.state(); return st == "200 OK", st })
}

func (s *serving) startCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

func (w *world) apiServerCert(t *testing.T, p node.Paths, address string) (cert, key string) {
	t.Helper()
	dir := p.KubernetesPKI()
	writePEM(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", w.caCert.Raw)
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: w.caCert.NotBefore, NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"kubernetes"}, IPAddresses: []net.IP{net.ParseIP(address)},
	}, w.caCert, k.Public(), w.caKey)
	must(t, err)
	cert, key = filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key")
	writePEM(t, cert, "CERTIFICATE", der)
	writeKey(t, key, k)
	return cert, key
}

// Three real kube-apiservers, etcds and agents, and the operator: each gets its own member first and the two others, one
// after the other; then each outlives the etcd beside it; and at rest nothing is restarted and nothing written.
func TestEtcdServers(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	nodes := w.newServing3(t)
	before := make([][]byte, len(nodes))
	for i, s := range nodes {
		before[i] = s.apiManifest()
	}
	w.newCluster(t)
	unmanaged := w.cluster(t)
	unmanaged.Spec.ManagementState = v1alpha1.Unmanaged
	must(t, w.client.Update(etcdtest.Context(t), &unmanaged))
	w.start(t)
	etcdtest.Eventually(t, "the status to say that it is Unmanaged", func() (bool, string) {
		c := w.cluster(t)
		return fmt.Sprint(c.Status.Conditions) != "[]" && strings.Contains(fmt.Sprint(c.Status.Conditions), v1alpha1.ReasonUnmanaged), fmt.Sprint(c.Status.Conditions)
	})
	looksAgain(t, 10)
	for i, s := range nodes {
		if string(s.apiManifest()) != string(before[i]) {
			t.Fatalf("Unmanaged, and %s was changed", s.name)
		}
	}
	c := w.cluster(t)
	patch := client.MergeFrom(c.DeepCopy())
	c.Spec.ManagementState, c.Spec.APIServers.OtherMembers = v1alpha1.Managed, 2
	must(t, w.client.Patch(etcdtest.Context(t), &c, patch))

	for i, s := range nodes {
		want := []string{s.etcd.ClientURL, nodes[(i+1)%3].etcd.ClientURL, nodes[(i+2)%3].etcd.ClientURL}
		etcdtest.Eventually(t, s.name+" to have its own first and the two others", func() (bool, string) {
			return slices.Equal(s.list(), want), fmt.Sprint(s.list())
		})
	}
	for i, s := range nodes {
		// One with the former list is ready, too.
		etcdtest.Eventually(t, "kube-apiserver on "+s.name+" to be started anew", func() (bool, string) { return s.startCount() >= 2, fmt.Sprint(s.startCount()) })
		s.ready(t)
		if n := s.startCount(); n != 2 {
			t.Errorf("kube-apiserver on %s was started %d times, not twice", s.name, n)
		}
		kept, err := os.ReadFile(filepath.Join(s.paths.Kubeadm(), staticpod.APIServerFile))
		must(t, err)
		back, err := staticpod.OriginalServers(s.paths)
		must(t, err)
		if string(kept) != string(before[i]) || string(back) != string(before[i]) {
			t.Errorf("%s: what kubeadm had is not kept", s.name)
		}
	}
	w.atRest(t, nodes)

	// kubeadm writes it anew, with its own member alone.
	nodes[1].put(t, string(before[1]))
	etcdtest.Eventually(t, "the list to be widened again", func() (bool, string) { return len(nodes[1].list()) == 3, fmt.Sprint(nodes[1].list()) })
	for _, s := range nodes {
		s.ready(t)
	}

	nodes[0].etcd.Kill(t)
	etcdtest.Eventually(t, "the operator to see that etcd is down", func() (bool, string) {
		c := w.cluster(t)
		return strings.Contains(fmt.Sprint(c.Status.Conditions), v1alpha1.ReasonMemberUnhealthy), fmt.Sprint(c.Status.Conditions)
	})
	for range 20 {
		must(t, write(t, nodes[0].api, fmt.Sprint("alive-", time.Now().UnixNano())))
	}
	nodes[0].ready(t)
	nodes[0].etcd.Start(t)
	nodes[0].etcd.WaitHealthy(t)
	w.atRest(t, nodes)
}

// looksAgain waits until the operator of this process has looked that often.
func looksAgain(t *testing.T, n int) {
	t.Helper()
	looks := func() (count int) {
		all, err := metrics.Registry.Gather()
		must(t, err)
		for _, f := range all {
			if f.GetName() != "ceo_agent_inspect_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == "cp-1" {
					count += int(m.GetHistogram().GetSampleCount()) //nolint:gosec // a few hundred
				}
			}
		}
		return count
	}
	from := looks()
	etcdtest.Eventually(t, "the operator to look again", func() (bool, string) { return looks() >= from+n, fmt.Sprint(looks() - from) })
}

func (w *world) atRest(t *testing.T, nodes []*serving) {
	t.Helper()
	starts := func() (n int) {
		for _, s := range nodes {
			n += s.startCount()
		}
		return n
	}
	etcdtest.Eventually(t, "ten looks without a write of the operator", func() (bool, string) {
		before, begun := w.writes.Load(), starts()
		looksAgain(t, 10)
		return w.writes.Load() == before && starts() == begun, fmt.Sprint(w.lastWrites(), starts())
	})
}

// The agent's side, with one node that a recovery takes in hand.
func TestPlaceEtcdServers(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	nodes := w.newServing3(t)
	s := nodes[0]
	pool := agentclient.NewPool(w.operatorFiles())
	t.Cleanup(func() { _ = pool.Close() })
	a, err := pool.Agent(s.address)
	must(t, err)
	ns, err := a.Inspect(etcdtest.Context(t), &agentpb.InspectRequest{})
	must(t, err)
	l := ns.GetApiServer().GetEtcd()
	if !slices.Equal(l.GetServers(), []string{s.etcd.ClientURL}) || !slices.Equal(l.GetLocal(), []string{s.etcd.ClientURL}) || l.GetRestarting() || l.GetError() != "" || !ns.GetApiServer().GetReady() {
		t.Fatalf("%v", ns.GetApiServer())
	}
	// An etcd of another cluster, of the same CA: what is left of a former epoch.
	old := etcdtest.NewMember(t, "old", t.TempDir()+"/data", s.pki)
	old.Start(t, "--initial-cluster=old="+old.PeerURL, "--initial-cluster-token=old")
	old.WaitHealthy(t)
	dead := "https://10.99.0.17:2379"
	own, second, third := s.etcd.ClientURL, nodes[1].etcd.ClientURL, nodes[2].etcd.ClientURL
	request := func(change func(*agentpb.PlaceEtcdServersRequest)) *agentpb.PlaceEtcdServersRequest {
		r := &agentpb.PlaceEtcdServersRequest{Servers: []string{own, second, third}, Was: []string{own}, ClusterId: ns.GetEtcd().GetClusterId(), Reason: "a test"}
		if change != nil {
			change(r)
		}
		return r
	}
	before := string(s.apiManifest())
	for _, row := range []struct {
		name   string
		change func(*agentpb.PlaceEtcdServersRequest)
		code   codes.Code
		says   string
	}{
		{"decided on another list", func(r *agentpb.PlaceEtcdServersRequest) { r.Was = []string{own, second} }, codes.FailedPrecondition, "by now"},
		{"of another cluster (I5)", func(r *agentpb.PlaceEtcdServersRequest) { r.ClusterId = "abc" }, codes.FailedPrecondition, "cluster"},
		{"of no cluster", func(r *agentpb.PlaceEtcdServersRequest) { r.ClusterId = "" }, codes.InvalidArgument, "cluster"},
		{"none", func(r *agentpb.PlaceEtcdServersRequest) { r.Servers = nil }, codes.InvalidArgument, "etcd servers"},
		{"a word that would add a flag", func(r *agentpb.PlaceEtcdServersRequest) { r.Servers = []string{own + "\n- --x"} }, codes.InvalidArgument, "URL"},
		{"the first does not answer", func(r *agentpb.PlaceEtcdServersRequest) { r.Servers = []string{dead, own} }, codes.FailedPrecondition, "first"},
		{"a new one does not answer (I23)", func(r *agentpb.PlaceEtcdServersRequest) { r.Servers = []string{own, dead} }, codes.FailedPrecondition, "new"},
		{"one of a former epoch that lives (I3)", func(r *agentpb.PlaceEtcdServersRequest) { r.Servers = []string{own, old.ClientURL} }, codes.FailedPrecondition, "would read both"},
	} {
		_, err := a.PlaceEtcdServers(etcdtest.Context(t), request(row.change))
		if status.Code(err) != row.code || !strings.Contains(status.Convert(err).Message(), row.says) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	must(t, durable.WriteJSON(s.paths.Hold(), node.Hold{ID: "recovery/r"}, 0o600))
	if _, err := a.PlaceEtcdServers(etcdtest.Context(t), request(nil)); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a recovery holds etcd (P17): %v", err)
	}
	must(t, os.Remove(s.paths.Hold()))
	nodes[1].api.Kill()
	if _, err := a.PlaceEtcdServers(etcdtest.Context(t), request(nil)); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "cp-2 has to be ready") {
		t.Errorf("another does not serve: %v", err)
	}
	if string(s.apiManifest()) != before {
		t.Fatal("it was refused, and changed")
	}
	nodes[1].end() // the kubelet starts it anew
	nodes[1].ready(t)

	r, err := a.PlaceEtcdServers(etcdtest.Context(t), request(nil))
	must(t, err)
	if again, err := a.PlaceEtcdServers(etcdtest.Context(t), request(nil)); err != nil || again.GetChanged() || !r.GetChanged() {
		t.Errorf("I20: %v %v %v", r, again, err)
	}
	if want := strings.Replace(before, own, strings.Join([]string{own, second, third}, ","), 1); string(s.apiManifest()) != want {
		t.Errorf("more than the flag has changed:\n%s", s.apiManifest())
	}
	s.ready(t)
	etcdtest.Eventually(t, "the agent to see that it runs", func() (bool, string) {
		ns, err := a.Inspect(etcdtest.Context(t), &agentpb.InspectRequest{})
		return err == nil && ns.GetApiServer().GetReady() && !ns.GetApiServer().GetEtcd().GetRestarting(), fmt.Sprint(ns.GetApiServer(), err)
	})

	// A recovery: kube-apiserver is out of service while the data changes, and the list still has one that lives and is of
	// the former epoch. It starts with its own etcd alone, and writes nothing to the other.
	_, err = a.StopComponents(etcdtest.Context(t), &agentpb.StopComponentsRequest{Components: []string{"kube-apiserver"}})
	must(t, err)
	raw, err := os.ReadFile(filepath.Join(s.paths.Stopped(), staticpod.APIServerFile))
	must(t, err)
	stale := strings.Replace(string(raw), third, old.ClientURL, 1)
	must(t, os.WriteFile(filepath.Join(s.paths.Stopped(), staticpod.APIServerFile), []byte(stale), 0o600))
	for range 2 { // I20
		_, err = a.StartComponents(etcdtest.Context(t), &agentpb.StartComponentsRequest{Components: []string{"kube-apiserver"}, WaitReady: true, OwnEtcdAlone: true})
		must(t, err)
		if !slices.Equal(s.list(), []string{own}) {
			t.Fatalf("I3: after a recovery the list is %v", s.list())
		}
	}
	s.ready(t)
	for i := range 30 {
		must(t, write(t, s.api, fmt.Sprint("after-", i)))
	}
	if n := keys(t, old); n != 0 {
		t.Errorf("I3: %d keys were written to the former cluster", n)
	}
	// The way back from a recovery that was not begun leaves what was there.
	_, err = a.StopComponents(etcdtest.Context(t), &agentpb.StopComponentsRequest{Components: []string{"kube-apiserver"}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(s.paths.Stopped(), staticpod.APIServerFile), raw, 0o600))
	_, err = a.StartComponents(etcdtest.Context(t), &agentpb.StartComponentsRequest{Components: []string{"kube-apiserver"}})
	must(t, err)
	if string(s.apiManifest()) != string(raw) {
		t.Error("undone, and not what it was")
	}
}
