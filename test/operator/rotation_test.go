//go:build integration

package operator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// caLife of certificates: so short that they are renewed several times over while the CA is changed.
const caLife = time.Minute

// rotating is a double that changes its CA with the real code, and whose kubelet restarts the real etcd. Beside it is what
// kube-apiserver is to etcd: a client that reads the bundle when it starts.
type rotating struct {
	*double
	t   *testing.T
	all *[]*rotating

	files sync.Mutex // one change of the certificates at a time, as the agent has it
	state sync.Mutex
	roots *x509.CertPool
	// loaded are the CAs in roots.
	loaded             []string
	restarts, apiStops int
	led                int // restarts while it led
	down               bool
	wrong              []string
}

func (w *world) newRotating3(t *testing.T) []*rotating {
	t.Helper()
	var hosts []*host
	var initial []string
	for i := range 3 {
		h := w.newHost(t, "cp-"+strconv.Itoa(i+1), "10.99.0.1"+strconv.Itoa(i+1))
		hosts, initial = append(hosts, h), append(initial, h.name+"="+h.etcd.PeerURL)
	}
	var out []*rotating
	for _, h := range hosts {
		must(t, node.Save(h.paths, h.config(hosts...)))
		r := &rotating{double: &double{host: h}, t: t, all: &out}
		r.renew()
		r.restartAPIServer()
		dir := h.paths.EtcdPKI()
		h.etcd.Args = []string{"--peer-cert-file=" + dir + "/peer.crt", "--peer-key-file=" + dir + "/peer.key"}
		h.etcd.Start(t, "--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-token="+t.Name(), "--initial-cluster-state=new")
		out = append(out, r)
	}
	for _, r := range out {
		r.etcd.WaitHealthy(t)
		r.serveAs(t, r)
		w.newNode(t, r.name, r.address)
	}
	// The operator's own, as its node's agent keeps it.
	w.certs = hosts[0].paths.OperatorPKI()
	return out
}

func (r *rotating) renew() {
	r.files.Lock()
	defer r.files.Unlock()
	for _, x := range pki.Renew(r.paths, pki.Host{Name: r.name, Address: r.address, Life: caLife, Now: time.Now()}) {
		if x.Err != nil {
			r.violated("%s: %v", x.Name, x.Err)
		}
	}
}

func (r *rotating) violated(format string, args ...any) {
	r.state.Lock()
	defer r.state.Unlock()
	r.wrong = append(r.wrong, r.name+": "+fmt.Sprintf(format, args...))
}

func (r *rotating) restartAPIServer() {
	s, err := pki.ReadCAState(r.paths)
	if err != nil {
		r.violated("%v", err)
		return
	}
	r.state.Lock()
	defer r.state.Unlock()
	r.roots, r.loaded = x509.NewCertPool(), nil
	for _, ca := range s.Trusted {
		r.roots.AddCert(ca)
		r.loaded = append(r.loaded, pki.Fingerprint(ca))
	}
	slices.Sort(r.loaded)
	r.apiStops++
}

func (r *rotating) Inspect(ctx context.Context, req *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	s, err := r.double.Inspect(ctx, req)
	if err == nil {
		s.Ca = r.caState(ctx)
	}
	return s, err
}

// caState is what the agent's comes to.
func (r *rotating) caState(ctx context.Context) *agentpb.CAState {
	r.files.Lock()
	s, err := pki.ReadCAState(r.paths)
	r.files.Unlock()
	if err != nil {
		return &agentpb.CAState{Error: err.Error()}
	}
	if s.Target == "" {
		return nil
	}
	out := &agentpb.CAState{Signing: s.Signing, Target: s.Target, Reason: s.Reason}
	for _, ca := range s.Trusted {
		out.Trusted = append(out.Trusted, pki.Fingerprint(ca))
	}
	for _, l := range s.Leaves {
		out.LeafNames, out.LeavesSignedBy = append(out.LeafNames, l.Name), append(out.LeavesSignedBy, l.SignedBy)
	}
	kept, err := pki.KeptCAs(r.paths)
	if err != nil {
		return &agentpb.CAState{Error: err.Error()}
	}
	for _, port := range []struct{ url, pair string }{{r.etcd.ClientURL, "etcd/healthcheck-client"}, {r.etcd.PeerURL, "etcd/peer"}} {
		if out.EtcdTrusts, err = pki.AskTrust(ctx, port.url, pki.LeafFiles(r.paths, port.pair), append(kept, s.Trusted...)); err != nil {
			out.EtcdError = err.Error()
		}
	}
	r.state.Lock()
	defer r.state.Unlock()
	out.ApiServerStale = !slices.Equal(r.loaded, slices.Sorted(slices.Values(out.GetTrusted())))
	return out
}

func (r *rotating) RotateCA(ctx context.Context, req *agentpb.RotateCARequest) (*agentpb.RotateCAReply, error) {
	r.t.Logf("%s: %s %.12s", r.name, req.GetStep(), req.GetFingerprint())
	change := func(f func() error) error {
		r.files.Lock()
		defer r.files.Unlock()
		return f()
	}
	var err error
	switch req.GetStep() {
	case "trust":
		err = change(func() error {
			if len(req.GetKey()) == 0 {
				return pki.TrustKnownCA(r.paths, req.GetFingerprint(), req.GetReason())
			}
			return pki.TrustCA(r.paths, pki.Pair{Cert: req.GetCertificate(), Key: req.GetKey()}, req.GetReason())
		})
	case "sign":
		err = change(func() error { return pki.SignWithCA(r.paths, req.GetFingerprint()) })
	case "forget":
		err = change(func() error { return pki.ForgetCA(r.paths, req.GetFingerprint()) })
	case "restart-apiserver":
		r.restartAPIServer()
	case "restart-etcd":
		err = r.restartEtcd(ctx)
	}
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	r.renew()
	return &agentpb.RotateCAReply{State: r.caState(ctx)}, nil
}

func (r *rotating) restartEtcd(ctx context.Context) error {
	for _, o := range *r.all {
		o.state.Lock()
		down := o.down
		o.state.Unlock()
		if o != r && down {
			r.violated("I6: restarted while %s was down", o.name)
		}
		if e := o.ask(ctx); o != r && (!e.GetAnswers() || !e.GetHasLeader()) {
			return errors.New(o.name + " is not seen to be healthy") // as the real agent does under the lock
		}
	}
	e := r.ask(ctx)
	set := func(down bool) {
		r.state.Lock()
		defer r.state.Unlock()
		r.down = down
	}
	set(true)
	r.etcd.Stop(r.t)
	r.state.Lock()
	r.restarts++
	if e.GetLeaderId() == e.GetMemberId() {
		r.led++
	}
	r.state.Unlock()
	r.etcd.Start(r.t)
	r.etcd.WaitHealthy(r.t)
	set(false)
	return nil
}

// ChangeMembers hands the leadership over, and nothing else.
func (r *rotating) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	to, err := strconv.ParseUint(req.GetTo(), 16, 64)
	if err != nil || req.GetKind() != "move-leader" {
		return nil, status.Errorf(codes.InvalidArgument, "%s to %q", req.GetKind(), req.GetTo())
	}
	c, err := r.dial(r.etcd.ClientURL)
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	defer func() { _ = c.Close() }()
	if _, err := c.MoveLeader(ctx, to); err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &agentpb.ChangeMembersReply{}, nil
}

func (r *rotating) dial(urls ...string) (*clientv3.Client, error) {
	f := pki.LeafFiles(r.paths, "apiserver-etcd-client")
	r.state.Lock()
	roots := r.roots
	r.state.Unlock()
	return clientv3.New(clientv3.Config{Endpoints: urls, Logger: zap.NewNop(), TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &cert, err
		},
	}})
}

// caWriter writes all the time, by each kube-apiserver in turn, and shakes hands anew each time. A write may fail once, and
// be tried again.
type caWriter struct {
	nodes            []*rotating
	written, retried atomic.Int64
	last             atomic.Int64
}

func (x *caWriter) put(ctx context.Context, i int64) error {
	var urls []string
	for _, r := range x.nodes {
		urls = append(urls, r.etcd.ClientURL)
	}
	c, err := x.nodes[i%3].dial(urls...)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err = c.Put(ctx, "key-"+strconv.FormatInt(i, 10), strconv.FormatInt(i, 10))
	return err
}

func (x *caWriter) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, r := range x.nodes {
		wg.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(pki.CheckEvery(caLife)):
					r.renew()
				}
			}
		})
	}
	wg.Go(func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			err := x.put(ctx, i)
			if err != nil && ctx.Err() == nil {
				x.retried.Add(1)
				t.Logf("write %d is tried again: %v", i, err)
				// While the leadership is handed over a proposal is dropped at once: one election time later there is a leader.
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
				err = x.put(ctx, i)
			}
			switch {
			case err == nil:
				x.written.Add(1)
				x.last.Store(i)
			case ctx.Err() == nil:
				t.Errorf("write %d failed twice: %v", i, err)
			}
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(stop)
	return stop
}

func (w *world) waitRotation(t *testing.T, what string, ok func(*v1alpha1.CARotationStatus) bool) {
	t.Helper()
	limit := time.After(5 * time.Minute) // some twenty steps, and six restarts, on a busy machine
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		c := w.cluster(t)
		if r := c.Status.CARotation; r != nil && ok(r) {
			return
		}
		select {
		case <-limit:
			t.Fatalf("%s: %+v, %s", what, c.Status.CARotation, c.Status.Summary)
		case <-look.C:
		}
	}
}

func complete(reason string) func(*v1alpha1.CARotationStatus) bool {
	return func(r *v1alpha1.CARotationStatus) bool { return r.Reason == reason && r.Phase == v1alpha1.CAComplete }
}

// TestCARotation: the operator changes etcd's CA twice under a writer, and is killed in the middle of both (I20). One
// restart at a time (I6), the leader last; no write is lost, and the old CA is gone from every bundle and every process.
func TestCARotation(t *testing.T) {
	if !alone(t) {
		return
	}
	whole := t
	w := newWorld(t)
	nodes := w.newRotating3(t)
	x := &caWriter{nodes: nodes}
	stopWriter := x.run(t)
	stop := w.start(t)
	w.newCluster(t)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	first := signing(t, nodes)
	restarts := func() (n int) {
		for _, r := range nodes {
			r.state.Lock()
			n += r.restarts
			r.state.Unlock()
		}
		return n
	}

	t.Run("and the operator is killed once all trust the new one", func(t *testing.T) {
		w.patchSpec(t, `{"tls":{"caRotationReason":"first"}}`)
		etcdtest.Eventually(t, "a restart", func() (bool, string) { return restarts() > 0, "" })
		stop()
		stop = w.start(whole)
		w.waitRotation(t, "the first change", complete("first"))
		if n := restarts(); n != 6 {
			t.Errorf("%d restarts of etcd, not 6", n)
		}
	})
	second := signing(t, nodes)
	if second == first {
		t.Fatal("the CA is the one of before")
	}
	t.Run("again, and the operator is killed before all trust it", func(t *testing.T) {
		w.patchSpec(t, `{"tls":{"caRotationReason":"second"}}`)
		etcdtest.Eventually(t, "the change to begin", func() (bool, string) {
			s, err := pki.ReadCAState(nodes[0].paths)
			return err == nil && s.Target != second, fmt.Sprint(err)
		})
		stop()
		stop = w.start(whole)
		w.waitRotation(t, "the second change", complete("second"))
	})
	t.Run("and then nothing more", func(t *testing.T) {
		third, n := signing(t, nodes), restarts()
		if third == second || third == first {
			t.Error("the CA is one of before")
		}
		from := nodes[0].lookCount()
		etcdtest.Eventually(t, "the operator to look again", func() (bool, string) { return nodes[0].lookCount() >= from+5, "" })
		if signing(t, nodes) != third || restarts() != n {
			t.Error("it went on")
		}
	})
	stopWriter()
	t.Logf("%d writes, %d tried again, %d restarts", x.written.Load(), x.retried.Load(), restarts())
	for _, r := range nodes {
		for _, wrong := range r.wrong {
			t.Error(wrong)
		}
		if r.led > 0 {
			t.Errorf("%s was restarted while it led", r.name)
		}
	}
	c, err := nodes[0].dial(nodes[0].etcd.ClientURL)
	must(t, err)
	defer func() { _ = c.Close() }()
	got, err := c.Get(etcdtest.Context(t), "key-", clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(t, err)
	if x.written.Load() == 0 || got.Count < x.written.Load() {
		t.Errorf("%d keys of %d writes", got.Count, x.written.Load())
	}
}

// signing is the one CA that every node signs with and trusts, in its files and in its etcd.
func signing(t *testing.T, nodes []*rotating) string {
	t.Helper()
	ca := ""
	for _, r := range nodes {
		s, err := pki.ReadCAState(r.paths)
		must(t, err)
		if ca == "" {
			ca = s.Signing
		}
		if s.Signing != ca || len(s.Trusted) != 1 || pki.Fingerprint(s.Trusted[0]) != ca {
			t.Errorf("%s signs with %.12s and trusts %d", r.name, s.Signing, len(s.Trusted))
		}
		for _, l := range s.Leaves {
			if l.SignedBy != ca {
				t.Errorf("%s on %s is signed by %.12s", l.Name, r.name, l.SignedBy)
			}
		}
		if st := r.caState(etcdtest.Context(t)); st != nil && (st.GetApiServerStale() || !slices.Equal(st.GetEtcdTrusts(), []string{ca})) {
			t.Errorf("what runs on %s trusts %v", r.name, st)
		}
	}
	return ca
}
