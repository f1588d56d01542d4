package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/state"
)

const cloneNewNet = syscall.CLONE_NEWNET

// ClusterName is the name in kubeadm's configuration.
const ClusterName = "ceo-lab"

// ignored: kubeadm calls cgroup v1 an error, the kubelet is told otherwise.
const ignored = "--ignore-preflight-errors=SystemVerification"

const registration = `nodeRegistration:
  name: %[1]s
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: IfNotPresent
  kubeletExtraArgs: [{name: node-ip, value: %[2]s}]
`

const initConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: %[3]s, ttl: 24h0m0s, usages: [signing, authentication], groups: ["system:bootstrappers:kubeadm:default-node-token"]}]
certificateKey: %[4]s
localAPIEndpoint: {advertiseAddress: %[2]s, bindPort: 6443}
` + registration + `---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v%[5]s
clusterName: %[6]s
controlPlaneEndpoint: "%[7]s"
dns: {disabled: true}
proxy: {disabled: true}
networking: {serviceSubnet: 10.97.0.0/16}
apiServer: {certSANs: [%[8]s]}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
failSwapOn: false
makeIPTablesUtilChains: false
evictionHard: {memory.available: "100Mi", nodefs.available: "1%%", imagefs.available: "1%%", nodefs.inodesFree: "1%%"}
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
nodeStatusUpdateFrequency: 5s
`

const joinConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery: {bootstrapToken: {token: %[3]s, apiServerEndpoint: "%[5]s", unsafeSkipCAVerification: true}}
controlPlane:
  certificateKey: %[4]s
  localAPIEndpoint: {advertiseAddress: %[2]s, bindPort: 6443}
` + registration

// uploadConfig says what kubeadm would otherwise look for on the internet and in a default route, and find in neither.
const uploadConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
certificateKey: %[2]s
localAPIEndpoint: {advertiseAddress: %[1]s, bindPort: 6443}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v%[3]s
`

// credentials of a join, kept in a file of the lab's folder.
type credentials struct{ token, key string }

func newCredentials() credentials {
	return credentials{token: random(3) + "." + random(8), key: random(32)}
}

func (l *Lab) credentialsFile() string { return l.Dir.Path("join.credentials") }

func (l *Lab) kubeadmInit(ctx context.Context, n *state.Node, s Setup) error {
	c := newCredentials()
	if err := state.WriteFile(l.credentialsFile(), []byte(c.token+" "+c.key)); err != nil {
		return err
	}
	sans := []string{network.BalancerIP}
	for i := 1; i <= state.MaxNodes; i++ {
		sans = append(sans, state.NodeIP(i))
	}
	conf := fmt.Sprintf(initConfig, n.Name, n.IP(), c.token, c.key, deps.Kubernetes, ClusterName, network.Endpoint(), strings.Join(sans, ", "))
	etcd, err := s.etcd()
	if err != nil {
		return err
	}
	conf = strings.Replace(conf, "clusterName: ", etcd+"clusterName: ", 1)
	if err := l.writeIn(n, "root/kubeadm.yaml", conf); err != nil {
		return err
	}
	l.R.Say("%s: kubeadm init", n.Name)
	err = l.logged(ctx, n, "kubeadm init on "+n.Name, "kubeadm-"+n.Name+".log", 4*time.Minute,
		"kubeadm", "init", "--config", "/root/kubeadm.yaml", "--upload-certs", "--skip-token-print", "--skip-certificate-key-print", s.ignore())
	if err != nil {
		return l.withKubelet(n, err)
	}
	b, err := l.readIn(n, "/etc/kubernetes/admin.conf")
	if err != nil {
		return err
	}
	if err := state.WriteFile(l.Dir.Kubeconfig(), b); err != nil {
		return err
	}
	return l.update(func() { n.Joined = true })
}

func (l *Lab) kubeadmJoin(ctx context.Context, n *state.Node) error {
	b, err := os.ReadFile(l.credentialsFile())
	if err != nil {
		return fmt.Errorf("credentials to join with: %w", err)
	}
	token, key, _ := strings.Cut(string(b), " ")
	conf := fmt.Sprintf(joinConfig, n.Name, n.IP(), token, key, network.Endpoint())
	if err := l.writeIn(n, "root/kubeadm.yaml", conf); err != nil {
		return err
	}
	l.R.Say("%s: kubeadm join", n.Name)
	err = l.logged(ctx, n, "kubeadm join on "+n.Name, "kubeadm-"+n.Name+".log", 4*time.Minute,
		"kubeadm", "join", "--config", "/root/kubeadm.yaml", ignored)
	if err != nil {
		return l.withKubelet(n, err)
	}
	return l.update(func() { n.Joined = true })
}

// withKubelet adds what the kubelet said: kubeadm mostly fails because of something that only the kubelet's log tells.
func (l *Lab) withKubelet(n *state.Node, err error) error {
	return fmt.Errorf("%w\n--- kubelet of %s\n%s", err, n.Name, tailLog(l.spec(n).Var("log/kubelet.log"), 10))
}

// writeIn writes a file below the node's folder on the machine.
func (l *Lab) writeIn(n *state.Node, name, content string) error {
	if err := os.WriteFile(l.Dir.NodePath(n, name), []byte(content), 0o600); err != nil { //nolint:gosec // fixed names in the lab's folder
		return fmt.Errorf("write %s of %s: %w", name, n.Name, err)
	}
	return nil
}

// readIn reads a file of a node's /etc, which lies in the upper layer of its overlay.
func (l *Lab) readIn(n *state.Node, path string) ([]byte, error) {
	b, err := os.ReadFile(l.Dir.NodePath(n, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s", n.Name, path)
	}
	return b, err
}
