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
	// OperatorPair is in node.Paths.OperatorPKI.
	OperatorPair = "operator"
)

// AgentHosts are the names and addresses under which a node's agent serves.
func AgentHosts(nodeName, address string, also ...string) []string {
	hosts := append([]string{nodeName, address, "localhost", "127.0.0.1", "::1"}, also...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// EnsureAgent sees to it that the agent has a certificate that is good for long enough and for this node's name and
// address (P9, P20), and issues one from the CA on disk if not. It says why it issued one, "" if it did not.
func EnsureAgent(p node.Paths, nodeName, address string, now time.Time) (why string, err error) {
	return ensure(p, agentPlace(p), agentRequest(nodeName, address, now))
}

// EnsureAdmin is EnsureAgent for the pair that the CLI on this node uses.
func EnsureAdmin(p node.Paths, nodeName string, now time.Time) (why string, err error) {
	return ensure(p, adminPlace(p), adminRequest(nodeName, now))
}

// WhyAgent and WhyAdmin answer what the Ensure functions would do, and change nothing.
func WhyAgent(p node.Paths, nodeName, address string, now time.Time) string {
	return whyIssue(p, agentPlace(p), agentRequest(nodeName, address, now))
}

// WhyAdmin is WhyAgent for the admin pair.
func WhyAdmin(p node.Paths, nodeName string, now time.Time) string {
	return whyIssue(p, adminPlace(p), adminRequest(nodeName, now))
}

func agentRequest(nodeName, address string, now time.Time, also ...string) Request {
	return Request{CommonName: "ceo-agent:" + nodeName, Role: Agent, Hosts: AgentHosts(nodeName, address, also...), Now: now}
}

func adminRequest(nodeName string, now time.Time) Request {
	return Request{CommonName: "ceo-admin:" + nodeName, Role: Admin, Now: now}
}

// pairPlace is where a pair lies, and whose it is.
type pairPlace struct {
	dir, name string
	write     func(Pair) error
}

func (l pairPlace) files() (cert, key string) {
	return filepath.Join(l.dir, l.name+".crt"), filepath.Join(l.dir, l.name+".key")
}

func rootPlace(dir, name string) pairPlace {
	return pairPlace{dir: dir, name: name, write: func(pair Pair) error { return pair.Write(dir, name) }}
}

func agentPlace(p node.Paths) pairPlace { return rootPlace(p.PKI(), AgentPair) }
func adminPlace(p node.Paths) pairPlace { return rootPlace(p.PKI(), AdminPair) }

func ensure(p node.Paths, l pairPlace, want Request) (string, error) {
	why := whyIssue(p, l, want)
	if why == "" {
		return "", nil
	}
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		return "", err
	}
	crt, _ := l.files()
	if have, err := readCertificate(crt); err == nil {
		if err := clockBehind(have, want.Now); err != nil {
			return "", err
		}
	}
	pair, err := ca.Issue(want)
	if err != nil {
		return "", err
	}
	return why, l.write(pair)
}

// whyIssue says why the pair on disk will not do.
func whyIssue(p node.Paths, l pairPlace, want Request) string {
	crt, key := l.files()
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return fmt.Sprintf("there is no usable pair %s: %v", l.name, err)
	}
	have, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Sprintf("the certificate of %s cannot be parsed: %v", l.name, err)
	}
	ca, err := signingCertificate(p.EtcdPKI())
	if err != nil {
		// Nothing better could be issued either.
		return ""
	}
	if err := have.CheckSignatureFrom(ca); err != nil {
		return fmt.Sprintf("the certificate of %s is not signed by etcd's present CA", l.name)
	}
	role, err := RoleOf(have)
	if err != nil || role != want.Role {
		return fmt.Sprintf("the certificate of %s does not have the role %s", l.name, want.Role)
	}
	if why := whyDue(have, ca, want.Life, want.Now); why != "" {
		return fmt.Sprintf("the certificate of %s %s", l.name, why)
	}
	should := template(want, ca)
	if !slices.Equal(have.DNSNames, should.DNSNames) || !slices.EqualFunc(have.IPAddresses, should.IPAddresses, net.IP.Equal) {
		return fmt.Sprintf("the certificate of %s is for other names: %v %v", l.name, have.DNSNames, have.IPAddresses)
	}
	return ""
}

// signingCertificate is that of the CA that signs here; where its key is kept elsewhere, the first of the bundle.
func signingCertificate(etcdPKI string) (*x509.Certificate, error) {
	if ca, err := LoadCA(etcdPKI); err == nil {
		return ca.cert, nil
	}
	return readCertificate(filepath.Join(etcdPKI, "ca.crt"))
}
