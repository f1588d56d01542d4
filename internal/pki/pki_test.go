package pki

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

func leaf(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.crt")
	if err := os.WriteFile(path, p.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := readCertificate(path)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// No role's certificate may be fit for client authentication: etcd would take its holder for a client with all rights.
func TestNoIssuedCertificateIsAnEtcdClient(t *testing.T) {
	p, _ := newNode(t)
	for _, role := range Roles() {
		t.Run(string(role), func(t *testing.T) {
			cert := leaf(t, issue(t, p, role))
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny} {
				if slices.Contains(cert.ExtKeyUsage, usage) {
					t.Errorf("key usage %v", usage)
				}
			}
			if len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 {
				t.Error("no extended key usage at all: that is fit for everything")
			}
			if cert.IsCA {
				t.Error("can sign certificates")
			}
			if got, err := RoleOf(cert); err != nil || got != role {
				t.Errorf("role %q %v", got, err)
			}
		})
	}
}

func TestRoleOfKubeadmsCertificates(t *testing.T) {
	_, a := newNode(t)
	for name, template := range map[string]*x509.Certificate{"healthcheck-client": healthcheckClient(), "server": etcdServer()} {
		if role, err := RoleOf(leaf(t, a.sign(t, template))); err == nil {
			t.Errorf("%s has the role %s", name, role)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	a := newAuthority(t, time.Now().Add(time.Hour))
	ca, err := NewCA(a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		req  Request
		want string
	}{
		"unknown role":        {Request{CommonName: "x", Role: "root", Now: time.Now()}, `no role "root"`},
		"agent without hosts": {Request{CommonName: "x", Role: Agent, Now: time.Now()}, "needs host names"},
		"viewer with hosts":   {Request{CommonName: "x", Role: Viewer, Hosts: []string{"cp-1"}, Now: time.Now()}, "needs host names"},
		"P9: CA expired":      {Request{CommonName: "x", Role: Viewer, Now: time.Now().Add(2 * time.Hour)}, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ca.Issue(row.req); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	pair, err := ca.Issue(Request{CommonName: "x", Role: Viewer, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if got := leaf(t, pair).NotAfter; got.After(a.cert.NotAfter) {
		t.Error("outlives its CA")
	}
}

func TestLoadCARefuses(t *testing.T) {
	p, a := newNode(t)
	other := newAuthority(t, time.Now().Add(time.Hour))
	if _, err := NewCA(a.cert, other.key); err == nil {
		t.Error("a key of another CA was taken")
	}
	if err := os.Remove(filepath.Join(p.EtcdPKI(), "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(p.EtcdPKI()); err == nil || !strings.Contains(err.Error(), "external CA") {
		t.Errorf("a missing key: %v", err)
	}
}

func TestEnsureAgent(t *testing.T) {
	now := time.Now()
	for name, row := range map[string]struct {
		change func(t *testing.T, p node.Paths, a authority)
		host   string
		now    time.Time
		want   string
	}{
		"good":                      {now: now},
		"P9: near its end":          {now: now.Add(Lifetime - Lifetime/3 + time.Hour), want: "ends on"},
		"P9: expired":               {now: now.Add(Lifetime + time.Hour), want: "ends on"},
		"P20: another address":      {now: now, host: "127.0.0.2", want: "other names"},
		"key of another":            {now: now, want: "no usable pair", change: func(t *testing.T, p node.Paths, _ authority) { swapKey(t, p) }},
		"crash before the cert":     {now: now, want: "no usable pair", change: func(t *testing.T, p node.Paths, _ authority) { remove(t, AgentFiles(p).Cert) }},
		"CA was replaced":           {now: now, want: "present CA", change: func(t *testing.T, p node.Paths, _ authority) { newAuthority(t, now.AddDate(1, 0, 0)).writeCA(t, p) }},
		"role was changed by hand":  {now: now, want: "role agent", change: func(t *testing.T, p node.Paths, _ authority) { write(t, p, issue(t, p, Viewer)) }},
		"certificate of other kind": {now: now, want: "role agent", change: func(t *testing.T, p node.Paths, a authority) { write(t, p, a.sign(t, etcdServer())) }},
	} {
		t.Run(name, func(t *testing.T) {
			p, a := newNode(t)
			if row.change != nil {
				row.change(t, p, a)
			}
			host := "127.0.0.1"
			if row.host != "" {
				host = row.host
			}
			why, err := EnsureAgent(p, "cp-1", host, row.now)
			if err != nil {
				t.Fatal(err)
			}
			if (row.want == "") != (why == "") || !strings.Contains(why, row.want) {
				t.Fatalf("reason %q, want %q", why, row.want)
			}
			if why, err := EnsureAgent(p, "cp-1", host, row.now); why != "" || err != nil {
				t.Errorf("not idempotent: %q %v", why, err)
			}
			for _, path := range []string{AgentFiles(p).Cert, AgentFiles(p).Key} {
				if mode(t, path) != 0o600 {
					t.Errorf("%s has mode %v", path, mode(t, path))
				}
			}
			if mode(t, p.PKI()) != 0o700 {
				t.Errorf("%s has mode %v", p.PKI(), mode(t, p.PKI()))
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, p node.Paths, pair Pair) {
	t.Helper()
	if err := pair.Write(p.PKI(), AgentPair); err != nil {
		t.Fatal(err)
	}
}

func swapKey(t *testing.T, p node.Paths) {
	t.Helper()
	if err := os.WriteFile(AgentFiles(p).Key, issue(t, p, Viewer).Key, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	p, a := newNode(t)
	if err := a.sign(t, etcdServer()).Write(p.EtcdPKI(), "server"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.EtcdPKI(), "torn.crt"), []byte("-----BEGIN CERT"), 0o600); err != nil {
		t.Fatal(err)
	}
	byName := map[string]Info{}
	for _, info := range Inspect(p.KubernetesPKI(), p.PKI(), filepath.Join(p.Root, "nowhere")) {
		byName[filepath.Base(info.Path)] = info
	}
	if len(byName) != 4 {
		t.Errorf("found %v", byName)
	}
	if i := byName["agent.crt"]; i.Role != Agent || i.NotAfter.Before(time.Now()) {
		t.Errorf("agent: %+v", i)
	}
	if i := byName["ca.crt"]; !i.CA || i.Role != "" {
		t.Errorf("CA: %+v", i)
	}
	if i := byName["server.crt"]; i.Subject != "CN=cp-1" || i.Role != "" {
		t.Errorf("server: %+v", i)
	}
	if i := byName["torn.crt"]; i.Error == "" {
		t.Errorf("torn: %+v", i)
	}
}
