package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// machine is a node: its files, its addresses, and what runs on it.
type machine struct {
	n       int
	name    string
	address string
	paths   node.Paths
	etcd    string // binary
	running []*process
}

func (b *bench) node(n int) *machine {
	name := fmt.Sprintf("cp-%d", n)
	return &machine{n: n, name: name, address: addressOf(n), etcd: b.tools.etcd, paths: node.Paths{Root: filepath.Join(b.scratch, name)}}
}

func (m *machine) clientURL() string { return "https://" + net.JoinHostPort(m.address, "2379") }
func (m *machine) peerURL() string   { return "https://" + net.JoinHostPort(m.address, "2380") }
func (m *machine) dataDir() string   { return filepath.Join(m.paths.Root, "var/lib/etcd") }
func (m *machine) log(of string) string {
	return filepath.Join(m.paths.Root, of+".log")
}

// etcdArgs are kubeadm's flags, but for the address of the metrics: each node has its own here.
func (m *machine) etcdArgs(more ...string) []string {
	p := m.paths.EtcdPKI()
	return append([]string{
		"--name=" + m.name, "--data-dir=" + m.dataDir(), "--advertise-client-urls=" + m.clientURL(), "--initial-advertise-peer-urls=" + m.peerURL(),
		"--listen-client-urls=" + m.clientURL(), "--listen-peer-urls=" + m.peerURL(), "--listen-metrics-urls=http://" + net.JoinHostPort(m.address, "2381"),
		"--cert-file=" + filepath.Join(p, "server.crt"), "--key-file=" + filepath.Join(p, "server.key"), "--client-cert-auth=true",
		"--trusted-ca-file=" + filepath.Join(p, "ca.crt"), "--peer-cert-file=" + filepath.Join(p, "peer.crt"), "--peer-key-file=" + filepath.Join(p, "peer.key"),
		"--peer-client-cert-auth=true", "--peer-trusted-ca-file=" + filepath.Join(p, "ca.crt"), "--snapshot-count=10000",
		"--feature-gates=InitialCorruptCheck=true", "--watch-progress-notify-interval=5s", "--quota-backend-bytes=8589934592",
	}, more...)
}

// prepare writes what `ceo node install` leaves on a node, but for the manifests.
func (m *machine) prepare(a authority, all []*machine, clusterID string) error {
	for _, dir := range []string{m.paths.State(), m.paths.Run(), m.paths.Backups(), filepath.Dir(m.dataDir())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := a.kubeadm(m.paths); err != nil {
		return err
	}
	c := node.Config{
		Name: m.name, ClusterName: "bench", Address: m.address, PeerURL: m.peerURL(), ClientURL: m.clientURL(), DataDir: m.dataDir(),
		Lineage: node.Lineage{{ClusterID: clusterID, Since: time.Now()}},
	}
	for _, o := range all {
		if o != m {
			c, _ = c.WithPeer(node.Peer{Name: o.name, Address: o.address, PeerURL: o.peerURL(), ClientURL: o.clientURL()})
		}
	}
	if err := node.Save(m.paths, c); err != nil {
		return err
	}
	_, err := pki.EnsureAgent(m.paths, m.name, m.address, time.Now())
	return err
}

// boot starts the node as ceo runs it: the agent, and the guard, which starts etcd when it may.
func (m *machine) boot(t tools) error {
	agent, err := startProcess("agent of "+m.name, m.log("agent"), t.self, childArg, childAgent, m.paths.Root, m.address)
	if err != nil {
		return err
	}
	m.running = append(m.running, agent)
	// As a manifest has it, also after a kubeadm upgrade: what it says of the membership is not believed (P25).
	args := append([]string{"guard", "--root", m.paths.Root, "--probe-address", net.JoinHostPort(m.address, strconv.Itoa(node.GuardProbePort)), "--", m.etcd},
		m.etcdArgs("--initial-cluster="+m.name+"="+m.peerURL())...)
	guard, err := startProcess("guard of "+m.name, m.log("etcd"), t.ceo, args...)
	if err != nil {
		return err
	}
	m.running = append(m.running, guard)
	return nil
}

// bare starts its etcd alone.
func (m *machine) bare(more ...string) error {
	p, err := startProcess("etcd of "+m.name, m.log("etcd"), m.etcd, m.etcdArgs(more...)...)
	if err == nil {
		m.running = append(m.running, p)
	}
	return err
}

// end has everything on it end in good order.
func (m *machine) end(ctx context.Context) error {
	for _, p := range m.running {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-p.exited:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
			return errors.New(p.name + " does not end")
		}
	}
	return nil
}

// off ends everything on it. A guard's etcd is killed with it, by the kernel.
func (m *machine) off() {
	for _, p := range m.running {
		p.kill()
	}
	m.running = nil
}

// lastWords of what runs or has ended on it, for when a run fails.
func (m *machine) lastWords() string {
	out := ""
	for _, p := range m.running {
		state := "running"
		if !p.running() {
			state = "ended"
		}
		out += state + " " + p.lastWords() + "\n"
	}
	return out
}

// until waits for a condition.
func until(ctx context.Context, what string, limit time.Duration, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := errors.New("not looked at")
	for {
		if err := cond(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
