package staticpod

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// AddressAnnotation names the address that a manifest was made for when its node got another one. The kubelet gives it on
// to the pod's sandbox, which tells whether etcd runs at it already: the revision's name is the same before and after.
const AddressAnnotation = "clusteretcd.io/address"

// advertised is kubeadm's own annotation: it reads etcd's endpoints from there.
const advertised = "kubeadm.kubernetes.io/etcd.advertise-client-urls"

// addressFlags name this node's own addresses.
var addressFlags = []string{"listen-peer-urls", "listen-client-urls", "listen-metrics-urls", "initial-advertise-peer-urls", "advertise-client-urls"}

// RenderAddress renders a guarded manifest with one address of the node in another's place, wherever it names the node's
// own, and leaves the rest as it is, the revision's name and the other members included. Rendering twice gives the same.
func RenderAddress(manifest []byte, from, to string) ([]byte, error) {
	pod, err := parseEtcd(manifest)
	if err != nil {
		return nil, err
	}
	if !IsGuarded(pod) {
		return nil, ErrNoGuard
	}
	for _, a := range []string{from, to} {
		if _, err := netip.ParseAddr(a); err != nil {
			return nil, fmt.Errorf("etcd manifest at another address: %w", err)
		}
	}
	flags, err := EtcdFlags(pod)
	if err != nil {
		return nil, err
	}
	c := &pod.Spec.Containers[0]
	changed := false
	set := func(name, value string, have string) {
		if value != have {
			c.Command, c.Args, changed = setInCommand(c, name, value), nil, true
		}
	}
	for _, name := range addressFlags {
		if have, ok := flags.All[name]; ok {
			set(name, inList(have, from, to, ""), have)
		}
	}
	if have, ok := flags.All["initial-cluster"]; ok {
		// The others' stay, also where one of them has the address now that was this node's.
		set("initial-cluster", inList(have, from, to, flags.Name+"="), have)
	}
	if !changed {
		return manifest, nil
	}
	if have := pod.Annotations[advertised]; have != "" {
		pod.Annotations[advertised] = inList(have, from, to, "")
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[AddressAnnotation] = to
	return marshal(pod)
}

// setInCommand sets etcd's flag behind the guard's.
func setInCommand(c *corev1.Container, name, value string) []string {
	full := append(append([]string(nil), c.Command...), c.Args...)
	for i, w := range full {
		if w == "--" {
			return append(full[:i+1:i+1], setFlag(full[i+1:], name, value)...)
		}
	}
	return full // a guarded command has it
}

// inList replaces the host of the URLs of a list that is the address. only is what an item must begin with.
func inList(list, from, to, only string) string {
	items := strings.Split(list, ",")
	for i, item := range items {
		raw, ok := strings.CutPrefix(item, only)
		if !ok {
			continue
		}
		if moved, ok := MoveURL(raw, from, to); ok {
			items[i] = only + moved
		}
	}
	return strings.Join(items, ",")
}

// MoveURL is the URL with the address to in the place of from; false where its host is another one.
func MoveURL(raw, from, to string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil {
		return raw, false
	}
	have, err := netip.ParseAddr(u.Hostname())
	if err != nil || have.Unmap().String() != from {
		return raw, false
	}
	if port := u.Port(); port != "" {
		u.Host = net.JoinHostPort(to, port)
	} else if u.Host = to; strings.Contains(to, ":") {
		u.Host = "[" + to + "]"
	}
	return u.String(), true
}

// SameAddresses reports whether two manifests of etcd's have the node at the same addresses.
func SameAddresses(a, b []byte) bool {
	var all [2]map[string]string
	for i, raw := range [][]byte{a, b} {
		pod, err := Parse(raw)
		if err != nil {
			return false
		}
		all[i] = flagsOf(etcdCommand(pod))
	}
	for _, name := range addressFlags {
		if all[0][name] != all[1][name] {
			return false
		}
	}
	return true
}
