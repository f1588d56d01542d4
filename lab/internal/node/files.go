package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Target is the systemd target that a node boots into: only what the lab put there, nothing of the machine's own units.
const Target = "ceo-lab.target"

// Programs of the lab inside of a node.
const (
	kubernetesIn = "/opt/ceo-lab/k8s"
	etcdIn       = "/opt/ceo-lab/etcd"
)

const targetUnit = `[Unit]
Description=A node of the lab
DefaultDependencies=no
AllowIsolate=yes
`

const containerdUnit = `[Unit]
Description=containerd container runtime
DefaultDependencies=no

[Service]
ExecStart=/usr/bin/containerd
Type=notify
TimeoutStartSec=60
Delegate=yes
KillMode=process
Restart=always
RestartSec=1
LimitNPROC=infinity
LimitCORE=infinity
LimitNOFILE=1048576
TasksMax=infinity
StandardOutput=append:/var/log/containerd.log
StandardError=inherit

[Install]
WantedBy=` + Target + `
`

// The kubelet is started as its Debian package does, with its log in a file. It has no configuration before kubeadm ran.
const kubeletUnit = `[Unit]
Description=kubelet: The Kubernetes Node Agent
DefaultDependencies=no
Wants=containerd.service
After=containerd.service
ConditionPathExists=/var/lib/kubelet/config.yaml
StartLimitIntervalSec=0

[Service]
Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=2
KillMode=process
Delegate=yes
StandardOutput=append:/var/log/kubelet.log
StandardError=inherit

[Install]
WantedBy=` + Target + `
`

const managerConf = `[Manager]
LogTarget=null
ShowStatus=no
DefaultCPUAccounting=no
DefaultMemoryAccounting=no
DefaultTasksAccounting=no
DefaultTasksMax=infinity
DefaultTimeoutStopSec=20s
`

const containerdConf = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%s"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "/usr/sbin/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
`

const cniConf = `{"cniVersion":"0.4.0","name":"lab","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,` +
	`"ipam":{"type":"host-local","ranges":[[{"subnet":"%s"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
`

// Hosts is a node's /etc/hosts.
func Hosts(s Spec) string {
	hosts := "127.0.0.1 localhost\n::1 localhost\n" + network.BalancerIP + " api\n"
	for i := 1; i <= state.MaxNodes; i++ {
		hosts += fmt.Sprintf("%s cp-%d\n", s.Address(i), i)
	}
	return hosts
}

// Prepare makes the files of a new node on the machine. pauseImage is the image of the pods' first container.
func Prepare(s Spec, pauseImage string) error {
	id := sha256.Sum256([]byte(s.Dir + s.Name))
	units := "etc/systemd/system/"
	files := map[string]string{
		"etc/hostname":               s.Name + "\n",
		"etc/hosts":                  Hosts(s),
		"etc/resolv.conf":            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", // nobody answers there: no look-up leaves the lab
		"etc/nsswitch.conf":          "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
		"etc/machine-id":             hex.EncodeToString(id[:16]) + "\n",
		"etc/fstab":                  "",
		"etc/systemd/system.conf":    managerConf,
		"etc/containerd/config.toml": fmt.Sprintf(containerdConf, pauseImage),
		"etc/cni/net.d/10-lab.conflist": fmt.Sprintf(cniConf,
			network.PodSubnet(s.Index)),
		units + Target:               targetUnit,
		units + "containerd.service": containerdUnit,
		units + "kubelet.service":    kubeletUnit,
	}
	for name, content := range files {
		p := s.path(name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil { //nolint:gosec // a root file system is readable
			return fmt.Errorf("prepare %s: %w", s.Name, err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("prepare %s: %w", s.Name, err)
		}
	}
	dirs := []string{
		units + Target + ".wants", "etc-work", "etc/kubernetes/manifests", "etc/kubernetes/pki", "usr/local/bin", "usr-work", "root", "opt",
		"usr/libexec/kubernetes/kubelet-plugins/volume/exec",
		"var/log", "var/lib/etcd", "var/lib/kubelet", "var/lib/cni", "var/lib/containerd", "var/tmp", "var/cache", "var/spool", "var/empty",
	}
	for _, d := range dirs {
		if err := os.MkdirAll(s.path(d), 0o755); err != nil { //nolint:gosec // as above
			return fmt.Errorf("prepare %s: %w", s.Name, err)
		}
	}
	// Opaque: what the machine has enabled there must not start in a node.
	if err := unix.Setxattr(s.path("etc/systemd/system"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("prepare %s: the file system of %s must support trusted extended attributes (ext4, xfs and btrfs do): %w", s.Name, s.Dir, err)
	}
	links := map[string]string{
		"var/run":  "/run",
		"var/lock": "/run/lock",
		units + Target + ".wants/containerd.service": "../containerd.service",
		units + Target + ".wants/kubelet.service":    "../kubelet.service",
	}
	for dir, in := range map[string]string{s.KubernetesBin: kubernetesIn, s.EtcdBin: etcdIn} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", s.Name, err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "kube-") { // those run from their images alone
				links["usr/local/bin/"+e.Name()] = in + "/" + e.Name()
			}
		}
	}
	for name, to := range links {
		if err := os.Symlink(to, s.path(name)); err != nil {
			return fmt.Errorf("prepare %s: %w", s.Name, err)
		}
	}
	return nil
}
