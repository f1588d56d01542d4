package staticpod

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	serversFlag        = "etcd-servers"
	apiServerContainer = "kube-apiserver"
)

// ErrNoServers is returned for a kube-apiserver without --etcd-servers: what it keeps its objects in is not known.
var ErrNoServers = errors.New("kube-apiserver's manifest has no --etcd-servers: this is not one that kubeadm made")

// EtcdServers is what kube-apiserver's manifest says in --etcd-servers.
func EtcdServers(manifest []byte) ([]string, error) {
	pod, err := parseAPIServer(manifest)
	if err != nil {
		return nil, err
	}
	return serversOf(pod)
}

func parseAPIServer(manifest []byte) (*corev1.Pod, error) {
	pod, err := Parse(manifest)
	if err != nil {
		return nil, err
	}
	if name := pod.Spec.Containers[0].Name; name != apiServerContainer {
		return nil, fmt.Errorf("manifest of pod %s: the first container is %q, not %q as kubeadm makes it", pod.Name, name, apiServerContainer)
	}
	return pod, nil
}

func serversOf(pod *corev1.Pod) ([]string, error) {
	var out []string
	for _, s := range list(FlagsOf(pod)[serversFlag]) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, ErrNoServers
	}
	return out, nil
}

// serversInText is the flag as kubeadm writes it: one word of a list, in one line.
var serversInText = regexp.MustCompile(`(?m)(-etcd-servers=)[^\s"'#]+`)

// RenderEtcdServers is kube-apiserver's manifest with another list, and with everything else as it is: where the flag is
// written as kubeadm writes it, comments and order stay, too. Rendering twice gives the same.
func RenderEtcdServers(manifest []byte, servers []string) ([]byte, error) {
	if err := CheckServers(servers); err != nil {
		return nil, err
	}
	pod, err := parseAPIServer(manifest)
	if err != nil {
		return nil, err
	}
	have, err := serversOf(pod)
	if err != nil {
		return nil, err
	}
	if slices.Equal(have, servers) {
		return manifest, nil
	}
	want := pod.DeepCopy()
	c, value := &want.Spec.Containers[0], strings.Join(servers, ",")
	n := len(c.Command)
	full := append(slices.Clone(c.Command), c.Args...)
	set := setFlag(full, serversFlag, value)
	// The flag is in one of the two, and stays there.
	if cut := n + len(set) - len(full); hasFlag(c.Command) {
		c.Command, c.Args = set[:cut:cut], slices.Clone(set[cut:])
	} else {
		c.Command, c.Args = set[:n:n], slices.Clone(set[n:])
	}
	if len(c.Args) == 0 {
		c.Args = nil
	}
	if len(serversInText.FindAllIndex(manifest, 2)) == 1 {
		text := serversInText.ReplaceAll(manifest, []byte("${1}"+value))
		// Only what a parser reads as the same pod: the text may be a comment, or part of another word.
		if got, err := Parse(text); err == nil && reflect.DeepEqual(got, want) {
			return text, nil
		}
	}
	return marshal(want)
}

// hasFlag: the first word of a command line is no flag.
func hasFlag(command []string) bool {
	for i := 1; i < len(command); i++ {
		if a, ok := argAt(command, i); ok && a.name == serversFlag {
			return true
		}
	}
	return false
}

// maxServers is beyond what anybody has, and below what fills a manifest.
const maxServers = 9

// serverURL: what can be written into a manifest without a quote.
var serverURL = regexp.MustCompile(`^https?://[A-Za-z0-9.\-\[\]:%_]+/?$`)

// CheckServers says what is wrong with a list.
func CheckServers(servers []string) error {
	if len(servers) == 0 || len(servers) > maxServers {
		return fmt.Errorf("a list of %d etcd servers: there have to be 1 to %d", len(servers), maxServers)
	}
	for i, s := range servers {
		switch {
		case !serverURL.MatchString(s):
			return fmt.Errorf("%q is no URL of an etcd server, as https://192.0.2.11:2379", s)
		case slices.Contains(servers[:i], s):
			return fmt.Errorf("the etcd server %s is named twice", s)
		}
	}
	return nil
}
