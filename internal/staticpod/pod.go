// Package staticpod reads, renders and places the manifests of static pods.
//
// Rendering is pure: a manifest in, a manifest out. Placing is where the kubelet's habits matter: it runs every file
// of its folder at once, whether or not it is whole.
package staticpod

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The names that kubeadm gives to files and parts of a control plane.
const (
	EtcdFile              = "etcd.yaml"
	AgentFile             = "ceo-agent.yaml"
	APIServerFile         = "kube-apiserver.yaml"
	ControllerManagerFile = "kube-controller-manager.yaml"
	SchedulerFile         = "kube-scheduler.yaml"

	etcdContainer = "etcd"
)

// Parse reads a static pod's manifest. It refuses what is no pod or has no container; it accepts fields that it does
// not know, as a newer Kubernetes may have written them.
func Parse(manifest []byte) (*corev1.Pod, error) {
	var pod corev1.Pod
	if err := yaml.Unmarshal(manifest, &pod); err != nil {
		return nil, fmt.Errorf("manifest is no YAML of a pod: %w", err)
	}
	switch {
	case pod.APIVersion != "v1" || pod.Kind != "Pod":
		return nil, fmt.Errorf("manifest is %q %q, not a v1 Pod", pod.APIVersion, pod.Kind)
	case pod.Name == "":
		return nil, fmt.Errorf("manifest has no metadata.name")
	case len(pod.Spec.Containers) == 0:
		return nil, fmt.Errorf("manifest of pod %s has no container", pod.Name)
	}
	return &pod, nil
}

// parseEtcd reads an etcd manifest and checks what everything else here relies on.
func parseEtcd(manifest []byte) (*corev1.Pod, error) {
	pod, err := Parse(manifest)
	if err != nil {
		return nil, err
	}
	c := pod.Spec.Containers[0]
	switch {
	case c.Name != etcdContainer:
		return nil, fmt.Errorf("manifest of pod %s: the first container is %q, not %q as kubeadm makes it", pod.Name, c.Name, etcdContainer)
	case len(etcdCommand(pod)) == 0:
		return nil, fmt.Errorf("manifest of pod %s: container %s has no command", pod.Name, c.Name)
	}
	return pod, nil
}

// Flags is what an etcd manifest says of its member.
type Flags struct {
	Name                     string
	DataDir                  string
	WalDir                   string
	InitialCluster           string
	InitialAdvertisePeerURLs []string
	AdvertiseClientURLs      []string
	ListenClientURLs         []string
	ListenPeerURLs           []string
	ListenMetricsURLs        []string
	CertFile                 string
	TrustedCAFile            string
	// All has every flag by its name, without dashes; the last one wins, as with etcd.
	All map[string]string
}

// EtcdFlags reads etcd's flags from a manifest, guarded or not.
func EtcdFlags(pod *corev1.Pod) (Flags, error) {
	all := flagsOf(etcdCommand(pod))
	f := Flags{
		Name:                     all["name"],
		DataDir:                  all["data-dir"],
		WalDir:                   all["wal-dir"],
		InitialCluster:           all["initial-cluster"],
		InitialAdvertisePeerURLs: list(all["initial-advertise-peer-urls"]),
		AdvertiseClientURLs:      list(all["advertise-client-urls"]),
		ListenClientURLs:         list(all["listen-client-urls"]),
		ListenPeerURLs:           list(all["listen-peer-urls"]),
		ListenMetricsURLs:        list(all["listen-metrics-urls"]),
		CertFile:                 all["cert-file"],
		TrustedCAFile:            all["trusted-ca-file"],
		All:                      all,
	}
	for _, need := range []struct{ flag, value string }{
		{"name", f.Name},
		{"data-dir", f.DataDir},
		{"initial-advertise-peer-urls", strings.Join(f.InitialAdvertisePeerURLs, ",")},
		{"advertise-client-urls", strings.Join(f.AdvertiseClientURLs, ",")},
		{"listen-client-urls", strings.Join(f.ListenClientURLs, ",")},
	} {
		if need.value == "" {
			return f, fmt.Errorf("etcd manifest lacks --%s: this is not a member that kubeadm made", need.flag)
		}
	}
	return f, nil
}

// FlagsOf reads the flags of a pod's first container by their names, without dashes.
func FlagsOf(pod *corev1.Pod) map[string]string {
	c := pod.Spec.Containers[0]
	return flagsOf(append(slices.Clone(c.Command), c.Args...))
}

func flagsOf(args []string) map[string]string {
	all := map[string]string{}
	for i := 1; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "-")
		if !ok {
			continue
		}
		name = strings.TrimPrefix(name, "-")
		name, value, hasValue := strings.Cut(name, "=")
		if !hasValue {
			// A flag without a value is a boolean unless a bare word follows.
			value = "true"
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
				value = args[i]
			}
		}
		all[name] = value
	}
	return all
}

// LocalClientURL is the client URL on loopback if etcd listens there, else the first one.
func (f Flags) LocalClientURL() string {
	for _, raw := range f.ListenClientURLs {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
			return raw
		}
	}
	return f.ListenClientURLs[0]
}

// Address is the host of the advertised client URL: where other nodes reach this one.
func (f Flags) Address() (string, error) {
	u, err := url.Parse(f.AdvertiseClientURLs[0])
	if err != nil {
		return "", fmt.Errorf("etcd flag --advertise-client-urls: %w", err)
	}
	if net.ParseIP(u.Hostname()) == nil {
		return "", fmt.Errorf("etcd flag --advertise-client-urls=%s: %q is not an IP address", f.AdvertiseClientURLs[0], u.Hostname())
	}
	return u.Hostname(), nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// marshal renders a pod without what only an API server fills in.
func marshal(pod *corev1.Pod) ([]byte, error) {
	raw, err := yaml.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("render pod %s: %w", pod.Name, err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("render pod %s: %w", pod.Name, err)
	}
	delete(doc, "status")
	if meta, ok := doc["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("render pod %s: %w", pod.Name, err)
	}
	return out, nil
}
