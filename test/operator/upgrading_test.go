//go:build integration

package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/revision"
	"clusteretcd.io/ceo/internal/staticpod"
)

// upgrading is a rolling whose kubelet runs the etcd that the manifest's image names, with the manifest's own flags. An
// image of another version than the three there are is missing.
type upgrading struct {
	*rolling
	bins  map[string]string
	peers *[]*upgrading

	seen sync.Mutex
	says string // in place of the version that its etcd has
	// unsaved are the placements of another version without a backup since the one before it; placements counts them all.
	unsaved    []string
	placements int
	changes    []string // of the membership, that were asked for
}

// newUpgrading3 brings three nodes up with etcd 3.5, as kubeadm has made them and ceo has adopted them.
func (w *world) newUpgrading3(t *testing.T) ([]*upgrading, func()) {
	t.Helper()
	bins := map[string]string{
		etcdtest.Version35: etcdtest.OldBinDir(t, etcdtest.Version35), etcdtest.Version36: etcdtest.OldBinDir(t, etcdtest.Version36), etcdtest.Version: etcdtest.BinDir(t),
	}
	golden, err := os.ReadFile("../../internal/staticpod/testdata/etcd-guarded.golden")
	must(t, err)
	var hosts []*host
	var initial []string
	for i := range 3 {
		h := w.newHost(t, "cp-"+strconv.Itoa(i+1), "10.99.0.1"+strconv.Itoa(i+1))
		hosts, initial = append(hosts, h), append(initial, h.name+"="+h.etcd.PeerURL)
	}
	var out []*upgrading
	var all []*rolling
	for _, h := range hosts {
		// With the names that 3.5 has for them.
		manifest := strings.NewReplacer(
			"10.90.0.11", h.address, "cp-1=", h.name+"=", "--name=cp-1", "--name="+h.name, "etcd:3.7.0-0", "etcd:"+etcdtest.Version35+"-0",
			// 3.7 reads no log of 3.5, so 3.6 has to have written a snapshot of raft first: soon, here.
			"--snapshot-count=10000", "--snapshot-count=1000",
			"--feature-gates=InitialCorruptCheck=true", "--experimental-initial-corrupt-check=true", "--watch-progress-notify-interval", "--experimental-watch-progress-notify-interval",
		).Replace(string(golden))
		must(t, durable.MkdirAll(h.paths.Manifests(), 0o700))
		must(t, staticpod.Place(h.paths.Manifests(), staticpod.EtcdFile, []byte(manifest)))
		h.etcd.Args = []string{"--initial-cluster=" + strings.Join(initial, ","), "--initial-cluster-token=" + t.Name(), "--initial-cluster-state=new"}
		u := &upgrading{rolling: &rolling{double: &double{host: h}, t: t, shelf: revision.Shelf{Paths: h.paths}, all: &all}, bins: bins, peers: &out}
		p, err := u.shelf.Present()
		must(t, err)
		must(t, u.run(p))
		u.running, u.begun = p.Revision, time.Now()
		out, all = append(out, u), append(all, u.rolling)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, u := range out {
		u.etcd.WaitHealthy(t)
		must(t, node.Save(u.paths, u.config(hosts...)))
		must(t, os.WriteFile(u.paths.BackupConfig(), []byte("location: file://"+u.paths.Backups()+"\ncompression: fastest\n"), 0o600))
		_, err := pki.EnsureAgent(u.paths, u.name, u.address, time.Now())
		must(t, err)
		u.serveAs(t, u)
		w.newNode(t, u.name, u.address)
		wg.Go(func() { u.kubelet(ctx) })
	}
	return out, func() { cancel(); wg.Wait() }
}

// kubelet runs what lies in its folder.
func (u *upgrading) kubelet(ctx context.Context) {
	for ctx.Err() == nil {
		if p, err := u.shelf.Present(); err == nil && p.Revision != u.runs() {
			u.etcd.Stop(u.t)
			if err := u.run(p); err != nil {
				u.violated("%s: %v", u.name, err)
			}
			u.state.Lock()
			u.running = p.Revision
			u.restarts = append(u.restarts, p.Revision)
			u.state.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// run starts the manifest's etcd. Addresses and files are the test's; every other flag is the manifest's, so that one
// that this version does not know keeps it down.
func (u *upgrading) run(p revision.Present) error {
	raw, err := os.ReadFile(filepath.Join(u.paths.Manifests(), staticpod.EtcdFile))
	if err != nil {
		return err
	}
	var pod corev1.Pod
	if err := yaml.Unmarshal(raw, &pod); err != nil {
		return err
	}
	bin, ok := u.bins[p.Content.Version]
	if !ok {
		return fmt.Errorf("the manifest's image is of %q", p.Content.Version)
	}
	u.etcd.Bin = bin
	c := pod.Spec.Containers[0].Command
	var flags []string
	for _, f := range c[slices.Index(c, "--")+2:] {
		name, _, _ := strings.Cut(f, "=")
		switch {
		case strings.HasSuffix(name, "-urls"), strings.HasSuffix(name, "-file"), name == "--data-dir", name == "--name", name == "--initial-cluster":
		default:
			flags = append(flags, f)
		}
	}
	u.etcd.Start(u.t, flags...)
	return nil
}

func (u *upgrading) Inspect(ctx context.Context, req *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	s, err := u.rolling.Inspect(ctx, req)
	u.seen.Lock()
	defer u.seen.Unlock()
	if err == nil && u.says != "" && s.GetEtcd().GetAnswers() {
		s.Etcd.Version = u.says
	}
	return s, err
}

func (u *upgrading) say(version string) {
	u.seen.Lock()
	defer u.seen.Unlock()
	u.says = version
}

func (u *upgrading) PlaceRevision(ctx context.Context, req *agentpb.PlaceRevisionRequest) (*agentpb.PlaceRevisionReply, error) {
	var c staticpod.Content
	if !req.GetRollBack() {
		if err := json.Unmarshal(req.GetContent(), &c); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		if _, ok := u.bins[c.Version]; !ok && c.Version != "" {
			return nil, status.Error(codes.NotFound, "pull image: not found")
		}
	}
	if !req.GetRollBack() {
		have, err := u.shelf.Present()
		if err == nil {
			err = agent.ReadsLog(ctx, u.etcd.DataDir, have.Content, c)
		}
		if err != nil {
			return nil, err
		}
	}
	reply, err := u.rolling.PlaceRevision(ctx, req)
	if err != nil {
		return nil, err
	}
	backups := 0
	for _, o := range *u.peers {
		o.mu.Lock()
		backups += o.created
		o.mu.Unlock()
	}
	u.seen.Lock()
	defer u.seen.Unlock()
	u.placements++
	// One for 3.6, and another one for 3.7.
	want := map[string]int{etcdtest.Version36: 1, etcdtest.Version: 2}[c.Version]
	if backups < want {
		u.unsaved = append(u.unsaved, fmt.Sprintf("%s was given %s after %d backups, and there had to be %d", u.name, c.Version, backups, want))
	}
	return reply, nil
}

// ChangeMembers: a leader hands over once every other node has what it is to get.
func (u *upgrading) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	u.seen.Lock()
	u.changes = append(u.changes, req.GetKind())
	u.seen.Unlock()
	mine, err := u.shelf.Present()
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	for _, o := range *u.peers {
		if p, err := o.shelf.Present(); o != u && (err != nil || p.Revision == mine.Revision) {
			u.violated("%s hands over, and %s has the same revision still (%v)", u.name, o.name, err)
		}
	}
	return u.rolling.ChangeMembers(ctx, req)
}

func rollingsOf(nodes []*upgrading) []*rolling {
	var out []*rolling
	for _, u := range nodes {
		out = append(out, u.rolling)
	}
	return out
}

// upgradedOnce: every node was restarted so often in all, one at a time, the leader last, and never before a backup.
func upgradedOnce(t *testing.T, nodes []*upgrading, times int) {
	t.Helper()
	once(t, rollingsOf(nodes), times)
	for _, u := range nodes {
		u.seen.Lock()
		for _, x := range u.unsaved {
			t.Error(x)
		}
		if u.placements != times {
			t.Errorf("%s was given %d revisions, not %d", u.name, u.placements, times)
		}
		u.seen.Unlock()
	}
}

// waitClusterVersion is etcd's own word, not the operator's.
func waitClusterVersion(t *testing.T, nodes []*upgrading, version, cluster string) {
	t.Helper()
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: nodes[0].pki.ClientTLS(t)}}
	defer c.CloseIdleConnections()
	for _, u := range nodes {
		etcdtest.Eventually(t, u.name+" to be of "+version, func() (bool, string) {
			resp, err := c.Get(u.etcd.ClientURL + "/version")
			if err != nil {
				return false, err.Error()
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
			must(t, err)
			var v struct {
				Server  string `json:"etcdserver"`
				Cluster string `json:"etcdcluster"`
			}
			must(t, json.Unmarshal(body, &v))
			return v.Server == version && v.Cluster == cluster, string(body)
		})
	}
}

// writer puts one key after the other and keeps what was acknowledged.
type writer struct {
	client *clientv3.Client
	acks   []int64 // the revision of key n; 0 where it was not acknowledged
	gap    time.Duration
	stop   func()
}

func startWriter(t *testing.T, nodes []*upgrading) *writer {
	t.Helper()
	var endpoints []string
	for _, u := range nodes {
		endpoints = append(endpoints, u.etcd.ClientURL)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, TLS: nodes[0].pki.ClientTLS(t), Logger: zap.NewNop()})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w := &writer{client: c}
	var once sync.Once
	w.stop = func() { once.Do(func() { cancel(); <-done }) }
	go func() {
		defer close(done)
		last := time.Now()
		for n := 0; ctx.Err() == nil; n++ {
			put, end := context.WithTimeout(ctx, 2*time.Second)
			r, err := c.Put(put, keyOf(n), strconv.Itoa(n))
			end()
			if err != nil {
				w.acks = append(w.acks, 0)
				continue
			}
			w.acks = append(w.acks, r.Header.Revision)
			w.gap, last = max(w.gap, time.Since(last)), time.Now()
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { w.stop(); _ = c.Close() })
	return w
}

func keyOf(n int) string { return fmt.Sprintf("/written/%08d", n) }

// check that every acknowledged write is there at its revision, on each member by itself.
func (w *writer) check(t *testing.T, nodes []*upgrading) {
	t.Helper()
	w.stop()
	acked := 0
	for _, u := range nodes {
		r, err := u.etcd.Client(t).Get(etcdtest.Context(t), "/written/", clientv3.WithPrefix())
		must(t, err)
		have := map[string]int64{}
		for _, kv := range r.Kvs {
			have[string(kv.Key)+"="+string(kv.Value)] = kv.ModRevision
		}
		acked = 0
		for n, rev := range w.acks {
			if rev == 0 {
				continue
			}
			acked++
			if have[keyOf(n)+"="+strconv.Itoa(n)] != rev {
				t.Errorf("%s lost write %d, acknowledged at revision %d", u.name, n, rev)
			}
		}
	}
	if acked < 100 {
		t.Errorf("the writer wrote %d keys: it shows nothing", acked)
	}
	t.Logf("%d writes acknowledged of %d, the longest gap %s", acked, len(w.acks), w.gap.Round(time.Millisecond))
}
