package staticpod

import (
	"net"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ServersOf are kube-apiserver's --etcd-servers.
func ServersOf(apiServer *corev1.Pod) []string {
	return strings.FieldsFunc(FlagsOf(apiServer)["etcd-servers"], func(r rune) bool { return r == ',' })
}

// Elsewhere reports whether one of the URLs is another node's: own is this one's address. A URL that cannot be read is not.
func Elsewhere(urls []string, own string) bool {
	return slices.ContainsFunc(urls, func(raw string) bool {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" || u.Hostname() == "localhost" {
			return false
		}
		ip := net.ParseIP(u.Hostname())
		return ip == nil || !ip.IsLoopback() && !ip.Equal(net.ParseIP(own))
	})
}
