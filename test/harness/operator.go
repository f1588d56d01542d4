package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// OperatorCerts is where a node has the operator's certificate.
const OperatorCerts = "/var/lib/ceo/operator"

// StartOperator runs ceo-operator beside the lab, with the API server and the certificate of one node. It logs into the
// file Load.File.
func (c *Cluster) StartOperator(ctx context.Context, name, node string) (*Load, error) {
	return c.startOperator(ctx, name, node, c.bin("ceo-operator"))
}

// StartOperatorWithClock is StartOperator, of a build whose wall clock MoveClock moves.
func (c *Cluster) StartOperatorWithClock(ctx context.Context, name, node string) (*Load, error) {
	return c.startOperator(ctx, name, node, "env", "CEO_CLOCK="+c.clock(name), c.bin("clock/ceo-operator"))
}

func (c *Cluster) clock(operator string) string { return filepath.Join(c.Scratch, operator, "clock") }

// MoveClock sets by how much the wall clock of an operator is wrong.
func (c *Cluster) MoveClock(operator string, by time.Duration) error {
	file := c.clock(operator)
	if err := os.WriteFile(file+".new", strconv.AppendInt(nil, int64(by/time.Second), 10), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (c *Cluster) startOperator(ctx context.Context, name, node string, command ...string) (*Load, error) {
	dir := filepath.Join(c.Scratch, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, f := range []string{"operator.crt", "operator.key", "ca.crt"} {
		res, err := c.On(ctx, node, "cat", OperatorCerts+"/"+f)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(res.Out), 0o600); err != nil {
			return nil, err
		}
	}
	kubeconfig, err := c.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "log")
	// As the kubelet would, the shell starts an operator that ended anew, until it is told to end.
	return c.start(ctx, log, append(append([]string{"sh", "-c", `log=$1; shift
trap 'kill $pid; wait $pid; exit 0' TERM
while :; do "$@" >>"$log" 2>&1 & pid=$!; wait $pid; sleep 1; done`, "sh", log}, command...),
		"--kubeconfig", kubeconfig, "--apiserver", "https://"+c.Address(node)+":6443", "--certs", dir,
		"--metrics-address", "0", "--health-address", "0")...)
}

// Move takes the power from a node and gives it back with another address.
func (c *Cluster) Move(ctx context.Context, node, address string) error {
	for _, args := range [][]string{{"kill", node}, {"move", node, address}, {"boot", node}} {
		if _, err := c.Lab(ctx, args...); err != nil {
			return err
		}
	}
	if c.moved == nil {
		c.moved = map[string]string{}
	}
	c.moved[node] = address
	return nil
}

// Address of a node.
func (c *Cluster) Address(node string) string {
	if a := c.moved[node]; a != "" {
		return a
	}
	return "10.78.0.1" + strings.TrimPrefix(node, "cp-")
}

// Condition of the EtcdCluster: its status, reason and message.
func (c *Cluster) Condition(ctx context.Context, kind string) (status, reason, message string, err error) {
	v, err := c.EtcdCluster(ctx)
	if err != nil {
		return "", "", "", err
	}
	if x := meta.FindStatusCondition(v.Status.Conditions, kind); x != nil {
		return string(x.Status), x.Reason, x.Message, nil
	}
	return "", "", "", fmt.Errorf("the EtcdCluster has no condition %s", kind)
}

// EtcdCluster as the API server has it.
func (c *Cluster) EtcdCluster(ctx context.Context) (v1alpha1.EtcdCluster, error) {
	var v v1alpha1.EtcdCluster
	res, err := c.Kubectl(ctx, "get", "etcdcluster", v1alpha1.ClusterName, "-o", "json", "--request-timeout=5s")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(res.Out), &v); err != nil {
		return v, fmt.Errorf("the EtcdCluster: %w", err)
	}
	return v, nil
}
