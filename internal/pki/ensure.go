package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// Names of the pairs in node.Paths.PKI.
const (
	AgentPair = "agent"
	AdminPair = "admin"
)

// AgentHosts are the names and addresses under which a node's agent serves.
func AgentHosts(nodeName, address string) []string {
	hosts := []string{nodeName, address, "localhost", "127.0.0.1", "::1"}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// EnsureAgent sees to it that the agent has a certificate that is good for long enough and for this node's name and
// address (P9, P20), and issues one from the CA on disk if not. It says why it issued one, "" if it did not.
func EnsureAgent(p node.Paths, nodeName, address string, now time.Time) (why string, err error) {
	return ensure(p, AgentPair, Request{CommonName: "ceo-agent:" + nodeName, Role: Agent, Hosts: AgentHosts(nodeName, address), Now: now})
}

// EnsureAdmin is EnsureAgent for the pair that the CLI on this node uses.
func EnsureAdmin(p node.Paths, nodeName string, now time.Time) (why string, err error) {
	return ensure(p, AdminPair, Request{CommonName: "ceo-admin:" + nodeName, Role: Admin, Now: now})
}

// WhyAgent and WhyAdmin answer what the Ensure functions would do, and change nothing.
func WhyAgent(p node.Paths, nodeName, address string, now time.Time) string {
	return whyIssue(p, AgentPair, Request{CommonName: "ceo-agent:" + nodeName, Role: Agent, Hosts: AgentHosts(nodeName, address), Now: now})
}

// WhyAdmin is WhyAgent for the admin pair.
func WhyAdmin(p node.Paths, nodeName string, now time.Time) string {
	return whyIssue(p, AdminPair, Request{CommonName: "ceo-admin:" + nodeName, Role: Admin, Now: now})
}

func ensure(p node.Paths, name string, want Request) (string, error) {
	why := whyIssue(p, name, want)
	if why == "" {
		return "", nil
	}
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		return "", err
	}
	pair, err := ca.Issue(want)
	if err != nil {
		return "", err
	}
	return why, pair.Write(p.PKI(), name)
}

// whyIssue says why the pair on disk will not do.
func whyIssue(p node.Paths, name string, want Request) string {
	pair, err := tls.LoadX509KeyPair(filepath.Join(p.PKI(), name+".crt"), filepath.Join(p.PKI(), name+".key"))
	if err != nil {
		return fmt.Sprintf("there is no usable pair %s: %v", name, err)
	}
	have, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Sprintf("the certificate of %s cannot be parsed: %v", name, err)
	}
	ca, err := readCertificate(filepath.Join(p.EtcdPKI(), "ca.crt"))
	if err != nil {
		// Nothing better could be issued either.
		return ""
	}
	if err := have.CheckSignatureFrom(ca); err != nil {
		return fmt.Sprintf("the certificate of %s is not signed by etcd's present CA", name)
	}
	role, err := RoleOf(have)
	if err != nil || role != want.Role {
		return fmt.Sprintf("the certificate of %s does not have the role %s", name, want.Role)
	}
	if left := have.NotAfter.Sub(want.Now); left < renewBefore && have.NotAfter.Before(ca.NotAfter) {
		return fmt.Sprintf("the certificate of %s ends on %s", name, have.NotAfter.Format(time.DateOnly))
	}
	should := template(want, ca)
	if !slices.Equal(have.DNSNames, should.DNSNames) || !slices.EqualFunc(have.IPAddresses, should.IPAddresses, net.IP.Equal) {
		return fmt.Sprintf("the certificate of %s is for other names: %v %v", name, have.DNSNames, have.IPAddresses)
	}
	return ""
}
