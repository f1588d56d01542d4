// Package harness drives the lab, ceo on it, and the load beside it, for the
// end-to-end suite, the demo and the benchmarks. It uses the lab as a person
// does, by its command, and everything in it is real.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Cluster is a lab with ceo's binary and image at hand.
type Cluster struct {
	// Root of the project; binaries are below its bin folder.
	Root string
	// Scratch is a folder of this run alone.
	Scratch string
	// Log gets a line for whatever is done.
	Log func(format string, args ...any)

	moved map[string]string // addresses of nodes that are not those of their numbers
}

// Name that kubeadm gives the lab's cluster, and a person types to confirm.
const Name = "ceo-lab"

// Namespace of the load's objects.
const Namespace = "ceo-load"

// Result of a command.
type Result struct {
	Out, Err string
	Code     int
}

// CmdError is a command that failed, with what it said.
type CmdError struct {
	Cmd    string
	Result Result
}

func (e *CmdError) Error() string {
	return fmt.Sprintf("%s: exit %d\n%s%s", e.Cmd, e.Result.Code, tail(e.Result.Out), tail(e.Result.Err))
}

func tail(s string) string {
	const most = 4000
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}

func (c *Cluster) bin(name string) string { return filepath.Join(c.Root, "bin", name) }

// Lab runs a lab command. An exit code other than 0 is an error that holds the
// result.
func (c *Cluster) Lab(ctx context.Context, args ...string) (Result, error) {
	return run(ctx, c.bin("lab"), args...)
}

func run(ctx context.Context, name string, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the project's own programs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, errb bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errb
	err := cmd.Run()
	res := Result{Out: out.String(), Err: errb.String(), Code: cmd.ProcessState.ExitCode()}
	if err != nil {
		return res, &CmdError{filepath.Base(name) + " " + strings.Join(args, " "), res}
	}
	return res, nil
}

// On runs a command in a node.
func (c *Cluster) On(ctx context.Context, node string, args ...string) (Result, error) {
	return c.Lab(ctx, append([]string{"exec", node, "--"}, args...)...)
}

// Ceo runs ceo in a node, as an administrator does.
func (c *Cluster) Ceo(ctx context.Context, node string, args ...string) (Result, error) {
	return c.On(ctx, node, append([]string{"ceo"}, args...)...)
}

// Kubectl runs kubectl against whatever API server is ready.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (Result, error) {
	return c.Lab(ctx, append([]string{"kubectl"}, args...)...)
}

// Up brings a lab up and puts ceo's binary and image on its nodes.
func (c *Cluster) Up(ctx context.Context, nodes int, flags ...string) error {
	c.Log("lab up: %d nodes, by kubeadm", nodes)
	if _, err := c.Lab(ctx, append([]string{"up", "--nodes", fmt.Sprint(nodes)}, flags...)...); err != nil {
		return err
	}
	return c.Load(ctx, "", nodes)
}

// Image is the reference of a build's image: "" the product, "failpoints" the
// build that dies on demand.
func Image(build string) string {
	if build == "" {
		return "clusteretcd.io/ceo:lab"
	}
	return "clusteretcd.io/ceo:lab-" + build
}

// Load puts a build of ceo on the nodes, as image and as command.
func (c *Cluster) Load(ctx context.Context, build string, nodes int) error {
	bin := filepath.Join(c.Root, "bin", build, "ceo")
	tar := filepath.Join(c.Scratch, "ceo-"+build+".tar")
	programs := []string{bin}
	// The operator is in the product's image, where it was built: not every suite needs it.
	if operator := c.bin("ceo-operator"); build == "" {
		if _, err := os.Stat(operator); err == nil {
			programs = append(programs, operator)
		}
	}
	if _, err := c.Lab(ctx, append([]string{"image", tar, Image(build)}, programs...)...); err != nil {
		return err
	}
	if _, err := c.Lab(ctx, "load", tar); err != nil {
		return err
	}
	for i := 1; i <= nodes; i++ {
		if _, err := c.Lab(ctx, "cp", bin, fmt.Sprintf("cp-%d:/usr/local/bin/ceo", i)); err != nil {
			return err
		}
	}
	return nil
}

// Install runs `ceo node install` on each node, one after the other.
func (c *Cluster) Install(ctx context.Context, build string, nodes int, flags ...string) error {
	for i := 1; i <= nodes; i++ {
		node := fmt.Sprintf("cp-%d", i)
		begun := time.Now()
		if _, err := c.Ceo(ctx, node, append([]string{"node", "install", "--image", Image(build)}, flags...)...); err != nil {
			return err
		}
		c.Log("ceo node install on %s: %.1fs", node, time.Since(begun).Seconds())
	}
	return nil
}

// Down removes the lab.
func (c *Cluster) Down(ctx context.Context) error {
	_, err := c.Lab(ctx, "down")
	return err
}

// Until waits for a condition, and says what it saw last if it never comes.
func Until(ctx context.Context, what string, limit time.Duration, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := errors.New("not looked at")
	for {
		// A look that the end of the limit cut short says less than the one before.
		if err := cond(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil || last.Error() == "not looked at" {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting %s for %s: %w", limit, what, last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Status is `ceo status -o json` of a node, in the parts that are looked at.
func (c *Cluster) Status(ctx context.Context, node string) (map[string]any, Result, error) {
	res, err := c.Ceo(ctx, node, "status", "-o", "json")
	var bad *CmdError
	if err != nil && (!errors.As(err, &bad) || res.Code != 2) {
		return nil, res, err
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(res.Out), &v); err != nil {
		return nil, res, fmt.Errorf("ceo status -o json on %s: %w: %s", node, err, tail(res.Out))
	}
	return v, res, nil
}

// Member as etcd's own tool lists it: the suite believes no word of ceo's about
// the cluster.
type Member struct {
	ID        uint64   `json:"ID"`
	Name      string   `json:"name"`
	PeerURLs  []string `json:"peerURLs"`
	IsLearner bool     `json:"isLearner"`
}

var etcdctlFlags = []string{
	"--cacert=/etc/kubernetes/pki/etcd/ca.crt", "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt", "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
}

// Etcdctl runs etcd's own tool on a node, against its own member.
func (c *Cluster) Etcdctl(ctx context.Context, node string, args ...string) (Result, error) {
	return c.On(ctx, node, append(append([]string{"etcdctl", "--endpoints=https://127.0.0.1:2379", "--command-timeout=5s"}, etcdctlFlags...), args...)...)
}

// Endpoint is what a node's member says of itself.
type Endpoint struct {
	Version          string
	Revision         int64
	Size             int64 // of its file, in bytes
	MemberID, Leader uint64
}

// Endpoint asks a node's member.
func (c *Cluster) Endpoint(ctx context.Context, node string) (Endpoint, error) {
	res, err := c.Etcdctl(ctx, node, "endpoint", "status", "-w", "json")
	if err != nil {
		return Endpoint{}, err
	}
	var v []struct {
		Status struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
				Revision int64  `json:"revision"`
			} `json:"header"`
			Version string `json:"version"`
			Size    int64  `json:"dbSize"`
			Leader  uint64 `json:"leader"`
		} `json:"Status"`
	}
	if err := json.Unmarshal([]byte(res.Out), &v); err != nil {
		return Endpoint{}, fmt.Errorf("etcdctl endpoint status on %s: %w: %s", node, err, res.Out)
	}
	if len(v) != 1 {
		return Endpoint{}, fmt.Errorf("etcdctl endpoint status on %s: %d answers", node, len(v))
	}
	s := v[0].Status
	return Endpoint{Version: s.Version, Revision: s.Header.Revision, Size: s.Size, MemberID: s.Header.MemberID, Leader: s.Leader}, nil
}

// Overwrite puts a value of so many random bytes, which no compression makes smaller, as text.
func (c *Cluster) Overwrite(ctx context.Context, node, key string, bytes int) error {
	_, err := c.On(ctx, node, "sh", "-c", fmt.Sprintf(`base64 -w0 /dev/urandom | head -c %d | etcdctl --endpoints=https://127.0.0.1:2379 --command-timeout=5s %s put %s`,
		bytes, strings.Join(etcdctlFlags, " "), key))
	return err
}

// Members of the cluster as a node's etcd lists them, and the cluster's id.
func (c *Cluster) Members(ctx context.Context, node string) ([]Member, uint64, error) {
	res, err := c.Etcdctl(ctx, node, "member", "list", "-w", "json")
	if err != nil {
		return nil, 0, err
	}
	var v struct {
		Header struct {
			ClusterID uint64 `json:"cluster_id"`
		} `json:"header"`
		Members []Member `json:"members"`
	}
	if err := json.Unmarshal([]byte(res.Out), &v); err != nil {
		return nil, 0, fmt.Errorf("member list: %w: %s", err, res.Out)
	}
	return v.Members, v.Header.ClusterID, nil
}

// Whole waits until n voters are listed and each of them answers as healthy,
// asked with etcd's own tool, and every API server is ready.
func (c *Cluster) Whole(ctx context.Context, n int, limit time.Duration) error {
	return Until(ctx, fmt.Sprintf("%d healthy voters and API servers", n), limit, func(ctx context.Context) error {
		ms, _, err := c.Members(ctx, "cp-1")
		if err != nil {
			return err
		}
		if len(ms) != n {
			return fmt.Errorf("%d members listed", len(ms))
		}
		for _, m := range ms {
			if m.IsLearner {
				return fmt.Errorf("%s is a learner", m.Name)
			}
		}
		for i := 1; i <= n; i++ {
			node := fmt.Sprintf("cp-%d", i)
			if res, err := c.Etcdctl(ctx, node, "endpoint", "health"); err != nil {
				return fmt.Errorf("%s: %w: %s", node, err, res.Err)
			}
			if _, err := c.On(ctx, node, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--server", "https://"+c.Address(node)+":6443", "get", "--raw", "/readyz"); err != nil {
				return err
			}
		}
		return nil
	})
}

// Bin is the folder of the project's built programs.
func (c *Cluster) Bin() string { return filepath.Join(c.Root, "bin") }

// New finds the project and makes a scratch folder; the caller removes it by
// calling the returned function.
func New(log func(string, ...any)) (*Cluster, func(), error) {
	root, err := projectRoot()
	if err != nil {
		return nil, nil, err
	}
	for _, b := range []string{"lab", "ceo", "load"} {
		if _, err := os.Stat(filepath.Join(root, "bin", b)); err != nil {
			return nil, nil, fmt.Errorf("%w: build it with `make build build-lab build-load`", err)
		}
	}
	scratch, err := os.MkdirTemp("", "ceo-harness-")
	if err != nil {
		return nil, nil, err
	}
	return &Cluster{Root: root, Scratch: scratch, Log: log}, func() { _ = os.RemoveAll(scratch) }, nil
}

func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "lab", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", errors.New("not inside the project's tree")
		}
		dir = filepath.Dir(dir)
	}
}
