// Package pki issues, inspects and serves the certificates of agents and of those who call them.
//
// They are signed by etcd's own CA, which is on every control-plane node and needs no API server. That CA is dangerous
// company: etcd takes every certificate of its CA that is fit for client authentication as a client with all rights. See
// docs/adr/0004-client-certificates.md for how ours are kept out of etcd.
package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// Role is what the holder of a certificate may do with an agent.
type Role string

// The roles. Each certificate has one: the agent's role table decides what it may call.
const (
	Admin    Role = "admin"
	Operator Role = "operator"
	Agent    Role = "agent"
	Backup   Role = "backup"
	Viewer   Role = "viewer"
)

// Roles lists every role.
func Roles() []Role { return []Role{Admin, Operator, Agent, Backup, Viewer} }

// organizationPrefix marks the Organization that carries the role.
const organizationPrefix = "ceo:"

// Organization is the subject's Organization that stands for the role.
func (r Role) Organization() string { return organizationPrefix + string(r) }

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("no role %q: the roles are %v", s, Roles())
}

// UsageOID is the extended key usage of every certificate that is meant for agents, in place of TLS client
// authentication: with it alone etcd refuses the certificate, without it an agent does. It is never to change.
//
// The arc 2.25 needs no registration and takes UUIDs. This is the first 31 bits of one
// (d95803a1-0229-436a-a031-3bf2fbd6739b): Go refuses to parse a certificate that names a larger arc.
func UsageOID() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 25, 1823211984} }

// ErrNoRole is the error of a certificate that was not issued for agents, like all of kubeadm's.
var ErrNoRole = errors.New("certificate has no role for agents")

// RoleOf is the one role of a certificate. It says nothing of who signed it: verify first.
func RoleOf(cert *x509.Certificate) (Role, error) {
	var found []Role
	for _, org := range cert.Subject.Organization {
		name, ok := strings.CutPrefix(org, organizationPrefix)
		if !ok {
			continue
		}
		r, err := ParseRole(name)
		if err != nil {
			return "", fmt.Errorf("certificate %q: %w", cert.Subject.CommonName, err)
		}
		found = append(found, r)
	}
	switch {
	case !hasUsage(cert):
		return "", fmt.Errorf("certificate %q lacks the key usage %v: %w", cert.Subject.CommonName, UsageOID(), ErrNoRole)
	case len(found) == 0:
		return "", fmt.Errorf("certificate %q names no %s organization: %w", cert.Subject.CommonName, organizationPrefix, ErrNoRole)
	case len(found) > 1:
		// Which of them counts would depend on who reads it.
		return "", fmt.Errorf("certificate %q names %d roles, exactly one is allowed", cert.Subject.CommonName, len(found))
	}
	return found[0], nil
}

func hasUsage(cert *x509.Certificate) bool {
	for _, oid := range cert.UnknownExtKeyUsage {
		if oid.Equal(UsageOID()) {
			return true
		}
	}
	return false
}
