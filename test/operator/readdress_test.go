//go:build integration

package operator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/cri/critest"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// TestReaddress: a node is started with another address, and back with its first one, while writes go on. The agent, the
// operator, etcd and the addresses are real; the kubelet and the other two nodes' agents are doubles (P20).
func TestReaddress(t *testing.T) {
	if !alone(t) {
		return
	}
	const first, second = "10.99.0.11", "10.99.0.21"
	whole := t
	w := newWorld(t)
	moved := w.newHost(t, "cp-1", first)
	var cluster string
	var sites []*site
	others := func() []*site { return sites }
	for i := 2; i <= 3; i++ {
		sites = append(sites, w.newSite(t, i, func() string { return cluster }, others))
	}
	initial := "cp-1=" + moved.etcd.PeerURL
	for _, s := range sites {
		initial += "," + s.name + "=" + s.etcd.PeerURL
	}
	for _, s := range sites {
		s.etcd.Start(t, "--initial-cluster="+initial, "--initial-cluster-token=move", "--initial-cluster-state=new")
		s.runs = true
	}
	k := newPowered(t, moved, initial)
	k.boot(t, first)
	etcdtest.Eventually(t, "the kubelet to start etcd", func() (bool, string) { return k.startCount() > 0, "" })
	k.etcd.WaitHealthy(t)
	st, err := k.etcd.Client(t).Status(etcdtest.Context(t), k.etcd.ClientURL)
	must(t, err)
	cluster = node.FormatID(st.Header.GetClusterId())
	id := st.Header.GetMemberId()
	for _, s := range sites {
		s.boot(t)
		w.newNode(t, s.name, s.address)
	}
	w.newNode(t, moved.name, first)
	must(t, w.client.Create(etcdtest.Context(t), &v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName}}))
	w.start(t)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	stop := writeOn(t, sites)

	follow := func(t *testing.T, from, to string) {
		k.powerOff()
		k.boot(whole, to) // it outlives the subtest
		// The kubelet has told where the node is.
		w.moveNode(t, moved.name, to)
		etcdtest.Eventually(t, "the membership to have "+to, func() (bool, string) {
			ms, got := listMembers(t, sites)
			for _, m := range ms {
				if m.Name == moved.name {
					return m.ID == id && len(m.PeerURLs) == 1 && m.PeerURLs[0] == "https://"+to+":2380", fmt.Sprint(m)
				}
			}
			return false, got
		})
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
		w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonAtRest)
		waitMembers(t, sites, "cp-1 cp-2 cp-3")
		c, err := node.Load(moved.paths)
		must(t, err)
		if c.Address != to || c.PeerURL != "https://"+to+":2380" || c.ClientURL != "https://"+to+":2379" {
			t.Errorf("node.json: %s %s %s", c.Address, c.PeerURL, c.ClientURL)
		}
		raw := k.manifest(t)
		if bytes.Contains(raw, []byte(from+":")) {
			t.Errorf("the manifest names %s still:\n%s", from, raw)
		}
		// It serves at the new address, with a certificate that names it.
		m := *k.etcd
		m.ClientURL = c.ClientURL
		if _, err := m.Client(t).Get(etcdtest.Context(t), "none"); err != nil {
			t.Errorf("a client at the new address: %v", err)
		}
		// It goes no further (it never loops).
		starts := k.startCount()
		looks := sites[0].lookCount()
		etcdtest.Eventually(t, "the operator to look", func() (bool, string) { return sites[0].lookCount() > looks+40, "" })
		if got := k.startCount(); got != starts || !bytes.Equal(k.manifest(t), raw) {
			t.Errorf("etcd was started %d times more", got-starts)
		}
	}
	t.Run("to another address", func(t *testing.T) { follow(t, first, second) })
	t.Run("and back: the word of before is old", func(t *testing.T) { follow(t, second, first) })

	written := stop()
	c := k.etcd.Client(t)
	for _, key := range written {
		got, err := c.Get(etcdtest.Context(t), key)
		must(t, err)
		if got.Count != 1 {
			t.Errorf("%s was acknowledged, and is lost", key)
		}
	}
	if len(written) == 0 {
		t.Error("nothing was written")
	}
}

// writeOn writes through the other members until it is stopped, and gives the keys that were acknowledged.
func writeOn(t *testing.T, sites []*site) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var keys []string
	done := make(chan struct{})
	c := sites[0].etcd.Client(t)
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			key := "written-" + strconv.Itoa(i)
			put, stop := context.WithTimeout(ctx, 5*time.Second)
			if _, err := c.Put(put, key, "x"); err == nil {
				keys = append(keys, key)
			}
			stop()
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	stop := func() []string {
		cancel()
		<-done
		return keys
	}
	t.Cleanup(func() { stop() })
	return stop
}

// powered is a node with the real agent and a kubelet that runs etcd by its manifest, if its addresses are there.
type powered struct {
	*host
	runtime *critest.Runtime
	socket  string
	off     func()

	mu     sync.Mutex
	starts int
}

func newPowered(t *testing.T, h *host, initial string) *powered {
	t.Helper()
	raw, err := os.ReadFile("../../internal/staticpod/testdata/etcd-guarded.golden")
	must(t, err)
	text := strings.Replace(string(raw), "--initial-cluster=cp-1=https://10.90.0.11:2380", "--initial-cluster="+initial, 1)
	must(t, durable.MkdirAll(h.paths.Manifests(), 0o700))
	must(t, staticpod.Place(h.paths.Manifests(), staticpod.EtcdFile, []byte(strings.ReplaceAll(text, "10.90.0.11", h.address))))
	must(t, node.Save(h.paths, h.config()))
	h.etcd.MetricsURL = "http://127.0.0.1:2381"
	k := &powered{host: h, socket: filepath.Join(h.paths.Root, "cri.sock")}
	k.runtime = critest.Serve(t, k.socket)
	t.Cleanup(func() {
		if k.off != nil {
			k.powerOff()
		}
		must(t, setAddress(1, []byte{10, 99, 0, 11}))
	})
	return k
}

// boot gives the node power, with this one address.
func (k *powered) boot(t *testing.T, address string) {
	t.Helper()
	must(t, setAddress(1, net.ParseIP(address).To4()))
	ctx, cancel := context.WithCancel(context.Background())
	a, err := agent.New(agent.Options{
		Paths: k.paths, Version: "test", CRISocket: k.socket, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Listen: func() (net.Listener, error) {
			return net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(node.AgentPort)))
		},
	})
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent: %v", err)
		}
	})
	wg.Go(func() { k.kubelet(ctx, t) })
	k.off = func() {
		cancel()
		wg.Wait()
		k.etcd.Kill(t)
		k.off = nil
	}
}

func (k *powered) powerOff() { k.off() }

func (k *powered) manifest(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.paths.Manifests(), staticpod.EtcdFile))
	must(t, err)
	return raw
}

func (k *powered) startCount() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.starts
}

func (k *powered) kubelet(ctx context.Context, t *testing.T) {
	var runs []byte
	for ctx.Err() == nil {
		raw := k.manifest(t)
		pod, err := staticpod.Parse(raw)
		must(t, err)
		flags, err := staticpod.EtcdFlags(pod)
		must(t, err)
		if !bytes.Equal(raw, runs) && bindable(flags.ListenPeerURLs) {
			k.etcd.Stop(t)
			k.etcd.ClientURL = flags.AdvertiseClientURLs[0]
			k.etcd.PeerURL = flags.InitialAdvertisePeerURLs[0]
			k.etcd.Args = []string{"--initial-cluster-token=move", "--initial-cluster-state=new"}
			for _, name := range []string{"listen-client-urls", "initial-cluster"} {
				k.etcd.Args = append(k.etcd.Args, "--"+name+"="+flags.All[name])
			}
			k.etcd.Start(t)
			k.runtime.Run(pod.Annotations)
			k.mu.Lock()
			k.starts++
			k.mu.Unlock()
			runs = raw
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// bindable: the loopback interface would take any address of its networks, and a real one does not.
func bindable(urls []string) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && strings.Contains(urls[0], "//"+ip.String()+":") {
			return true
		}
	}
	return false
}

// setAddress gives the nth alias of the loopback interface another address in the place of its own.
func setAddress(n int, ip []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	a, err := unix.NewIfreq(fmt.Sprintf("lo:%d", n))
	if err != nil {
		return err
	}
	if err := a.SetInet4Addr(ip); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, a)
}
