package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// serve accepts connections with the agent's configuration and answers "ROLE\n" to each caller that it lets in.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				conn, ok := c.(*tls.Conn)
				if !ok || conn.Handshake() != nil {
					return
				}
				role, err := RoleOf(conn.ConnectionState().PeerCertificates[0])
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(role))
			}()
		}
	}()
	return l.Addr().String()
}

// call returns the role that the agent saw, or why the call failed on either side.
func call(addr string, cfg *tls.Config) (string, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(d, "tcp", addr, cfg)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	// With TLS 1.3 the server's refusal arrives with the first read.
	n, err := conn.Read(buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func ours(org ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: "someone", Organization: org},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:           x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{UsageOID()},
	}
}

func TestWhoMayCallAnAgent(t *testing.T) {
	p, a := newNode(t)
	cfg, err := ServerTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, cfg)

	expired := ours("ceo:admin")
	expired.NotAfter = time.Now().Add(-time.Minute)
	early := ours("ceo:admin")
	early.NotBefore = time.Now().Add(time.Minute)
	noOID := healthcheckClient()
	noOID.Subject.Organization = []string{"ceo:admin"}
	for name, row := range map[string]struct {
		pair Pair
		want string // "" is refused
	}{
		"admin":                             {issue(t, p, Admin), "admin"},
		"operator":                          {issue(t, p, Operator), "operator"},
		"agent":                             {issue(t, p, Agent), "agent"},
		"backup":                            {issue(t, p, Backup), "backup"},
		"viewer":                            {issue(t, p, Viewer), "viewer"},
		"role beside another organization":  {a.sign(t, ours("ceo:viewer", "system:masters")), "viewer"},
		"expired":                           {a.sign(t, expired), ""},
		"not yet valid":                     {a.sign(t, early), ""},
		"another CA":                        {newAuthority(t, time.Now().Add(time.Hour)).sign(t, ours("ceo:admin")), ""},
		"no usage OID":                      {a.sign(t, noOID), ""},
		"two roles":                         {a.sign(t, ours("ceo:viewer", "ceo:admin")), ""},
		"one role twice":                    {a.sign(t, ours("ceo:viewer", "ceo:viewer")), ""},
		"unknown role":                      {a.sign(t, ours("ceo:root")), ""},
		"no organization":                   {a.sign(t, ours()), ""},
		"kubeadm's healthcheck client":      {a.sign(t, healthcheckClient()), ""},
		"kubeadm's server certificate":      {a.sign(t, etcdServer()), ""},
		"role in the common name":           {a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ceo:admin"}, NotAfter: time.Now().Add(time.Hour), UnknownExtKeyUsage: []asn1.ObjectIdentifier{UsageOID()}}), ""},
		"signed by an agent's own key pair": {signedByLeaf(t, p), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := ClientTLS(files(t, p, strings.ReplaceAll(name, " ", "-"), row.pair), "cp-1")
			if err != nil {
				t.Fatal(err)
			}
			got, err := call(addr, client)
			if got != row.want || (row.want == "") != (err != nil) {
				t.Errorf("answered %q (%v), want %q", got, err, row.want)
			}
		})
	}

	t.Run("no certificate", func(t *testing.T) {
		if got, err := call(addr, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // the server is what is tested
			t.Errorf("answered %q", got)
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		client, err := ClientTLS(files(t, p, "old", issue(t, p, Admin)), "cp-1")
		if err != nil {
			t.Fatal(err)
		}
		client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if got, err := call(addr, client); err == nil {
			t.Errorf("answered %q", got)
		}
	})
}

// signedByLeaf is a certificate that a role's holder signed with their own key.
func signedByLeaf(t *testing.T, p node.Paths) Pair {
	t.Helper()
	holder := issue(t, p, Viewer)
	signer, err := parseKey(holder.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCA(leaf(t, holder), signer); err == nil {
		t.Error("a role's certificate was taken for a CA")
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key of type %T", signer)
	}
	pair := authority{cert: leaf(t, holder), key: key}.sign(t, ours("ceo:admin"))
	pair.Cert = append(pair.Cert, holder.Cert...)
	return pair
}

func TestWhomACallerTrusts(t *testing.T) {
	p, a := newNode(t)
	agent, err := ServerTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	with := func(pair Pair) *tls.Config {
		c := agent.Clone()
		c.GetCertificate = nil
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
		return c
	}
	admin := files(t, p, "admin", issue(t, p, Admin))
	for name, row := range map[string]struct {
		server *tls.Config
		host   string
		ok     bool
	}{
		"the agent by its node's name":        {agent, "cp-1", true},
		"the agent by its address":            {agent, "127.0.0.1", true},
		"the agent of another node":           {agent, "cp-2", false},
		"etcd with its own certificate":       {with(a.sign(t, etcdServer())), "cp-1", false},
		"a viewer who poses as an agent":      {with(issue(t, p, Viewer)), "cp-1", false},
		"an agent of another cluster":         {with(newAuthority(t, time.Now().Add(time.Hour)).sign(t, etcdServer())), "cp-1", false},
		"another node's agent under its name": {with(issue(t, p, Agent)), "cp-2", true},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := ClientTLS(admin, row.host)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := call(serve(t, row.server), client); (err == nil) != row.ok {
				t.Errorf("err %v, want ok %v", err, row.ok)
			}
		})
	}
}

// A renewed certificate is served without a restart, and a torn one does not take the agent down.
func TestServerReloads(t *testing.T) {
	p, _ := newNode(t)
	cfg, err := ServerTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, cfg)
	served := func() time.Time {
		t.Helper()
		client, err := ClientTLS(files(t, p, "admin", issue(t, p, Admin)), "cp-1")
		if err != nil {
			t.Fatal(err)
		}
		var end time.Time
		verify := client.VerifyConnection
		client.VerifyConnection = func(s tls.ConnectionState) error {
			end = s.PeerCertificates[0].NotAfter
			return verify(s)
		}
		if _, err := call(addr, client); err != nil {
			t.Fatal(err)
		}
		return end
	}
	first := served()
	// The next one is issued a minute later: that is how it is told apart.
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		t.Fatal(err)
	}
	next, err := ca.Issue(Request{CommonName: "ceo-agent:cp-1", Role: Agent, Hosts: AgentHosts("cp-1", "127.0.0.1"), Now: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	write(t, p, next)
	if second := served(); !second.After(first) {
		t.Errorf("served until %v after %v", second, first)
	}
	if err := (Pair{Cert: []byte("torn"), Key: []byte("torn")}).Write(p.PKI(), AgentPair); err != nil {
		t.Fatal(err)
	}
	served()
}

func TestClientNeedsAName(t *testing.T) {
	p, _ := newNode(t)
	if _, err := ClientTLS(AgentFiles(p), ""); err == nil {
		t.Error("a client that verifies no name was made")
	}
	if _, err := ServerTLS(node.Paths{Root: t.TempDir()}); err == nil || errors.Is(err, ErrNoRole) {
		t.Errorf("a server without certificates: %v", err)
	}
}
