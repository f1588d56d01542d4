package kubeapi

import (
	"net"
	"net/netip"
	"strings"
)

// ServerURL puts the brackets around an IPv6 address that a Pod's environment gives without: https://fd00::1:6443 means
// port 6443 of fd00::1. Everything else stays as it is.
func ServerURL(s string) string {
	rest, ok := strings.CutPrefix(s, "https://")
	if !ok || strings.HasPrefix(rest, "[") {
		return s
	}
	i := strings.LastIndex(rest, ":")
	if i < 0 {
		return s
	}
	if a, err := netip.ParseAddr(rest[:i]); err == nil && a.Is6() {
		return "https://" + net.JoinHostPort(rest[:i], rest[i+1:])
	}
	return s
}
