//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// Story 15: two nodes, one after the other, come back with another address. What ceo does needs no person: the members stay
// those that they were, and nothing is removed. What kubeadm leaves to a person are the commands of the runbook, as they
// stand there.
func Test15Address(t *testing.T) {
	onlyInFull(t, "four minutes")
	ctx := testContext(t, 20*time.Minute)
	operated(ctx, t)
	w := writer(ctx, t, "address")
	must(t, w.UntilAcked(ctx, 20, soon))
	for _, m := range []struct{ node, address string }{{"cp-3", "10.78.0.33"}, {"cp-2", "10.78.0.32"}} {
		if t.Failed() {
			break // a second one that is away would take the quorum
		}
		t.Run(m.node+" is at "+m.address, func(t *testing.T) {
			before, _, err := lab.Members(ctx, "cp-1")
			must(t, err)
			old := lab.Address(m.node)
			began := time.Now()
			must(t, lab.Move(ctx, m.node, m.address))
			person(ctx, t, m.node, old, m.address)
			must(t, harness.Until(ctx, "the membership to follow", late, func(ctx context.Context) error {
				now, _, err := lab.Members(ctx, "cp-1")
				if err != nil {
					return err
				}
				if a, b := ids(before), ids(now); !slices.Equal(a, b) {
					t.Fatalf("the members are %x, and were %x", b, a)
				}
				for _, x := range now {
					if want := "https://" + m.address + ":2380"; x.Name == m.node && !slices.Equal(x.PeerURLs, []string{want}) {
						return fmt.Errorf("the peer URLs of %s are %v", x.Name, x.PeerURLs)
					}
				}
				return nil
			}))
			whole(ctx, t)
			seenHealthy(ctx, t, m.node)
			t.Logf("from the loss of power to three voters and API servers: %s", time.Since(began).Round(time.Second))
			must(t, harness.Until(ctx, "the endpoints to name it", soon, func(ctx context.Context) error {
				res, err := lab.Kubectl(ctx, "-n", "kube-system", "get", "configmap", "etcd-endpoints", "-o", "jsonpath={.data}")
				if err == nil && (!strings.Contains(res.Out, m.address) || strings.Contains(res.Out, old)) {
					err = fmt.Errorf("they are %s", res.Out)
				}
				return err
			}))
			_, err = lab.On(ctx, m.node, "kubeadm", "certs", "check-expiration")
			must(t, err)
		})
	}
	condition(ctx, t, "Degraded", "False")
	condition(ctx, t, "QuorumSafe", "True")
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s", len(acks), longestPause(acks))
}

// person runs the commands of the runbook on the node.
func person(ctx context.Context, t *testing.T, node, old, address string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(lab.Root, "docs/runbooks/changed-address.md"))
	must(t, err)
	_, after, _ := strings.Cut(string(page), "## What kubeadm leaves to a person")
	_, after, _ = strings.Cut(after, "```\n")
	commands, _, found := strings.Cut(after, "```\n")
	const example = "OLD=10.0.0.11 NEW=10.0.0.77"
	if !found || !strings.Contains(commands, example) {
		t.Fatalf("the runbook has no commands, or not with %q:\n%s", example, commands)
	}
	commands = strings.NewReplacer(example, "OLD="+old+" NEW="+address, "ENDPOINT", "10.78.0.10:6443", "CIDR", "10.97.0.0/16", "SANS", "10.78.0.10").Replace(commands)
	// Here is no crictl, and the names of processes are cut off.
	commands += "pkill -x kube-controller; pkill -x kube-scheduler; true\n"
	res, err := lab.On(ctx, node, "bash", "-c", commands)
	must(t, err)
	t.Logf("on %s:\n%s%s", node, res.Out, res.Err)
}
