package guard

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// identity is an agent that knows a lineage and nothing else.
type identity struct {
	agentpb.UnimplementedAgentServer
	lineage []*agentpb.Generation
}

func (i identity) Identity(context.Context, *agentpb.IdentityRequest) (*agentpb.IdentityReply, error) {
	return &agentpb.IdentityReply{Node: &agentpb.Peer{Name: "cp-2"}, Lineage: i.lineage}, nil
}

// A peer's agent alone knows of a recovery: the older data does not start, with
// no etcd reachable at all (P11, I4).
func TestPeerAgentsWordIsRecorded(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	const peer = "127.0.22.2" // loopback, an address of this test's own
	writeCA(t, p.EtcdPKI())
	if _, err := pki.EnsureAgent(p, "cp-1", peer, time.Now()); err != nil {
		t.Fatal(err)
	}
	serverTLS, err := pki.ServerTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", node.Peer{Address: peer}.AgentAddress())
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS)))
	agentpb.RegisterAgentServer(s, identity{lineage: []*agentpb.Generation{{Epoch: 0, ClusterId: past}, {Epoch: 1, ClusterId: now}}})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)

	self := node.Config{
		Name: "cp-1", Address: "127.0.0.1", PeerURL: "http://127.0.0.1:1", ClientURL: "http://127.0.0.1:1", DataDir: "/d",
		Lineage: node.Lineage{{Epoch: 0, ClusterID: past}},
		// The second one is dark.
		Peers: []node.Peer{{Name: "cp-2", Address: peer, ClientURL: "http://" + peer + ":1"}, {Name: "cp-3", Address: "127.0.22.3"}},
	}
	if err := os.MkdirAll(p.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := node.Save(p, self); err != nil {
		t.Fatal(err)
	}
	g := gatherer{paths: p, flags: Flags{Name: "cp-1", DataDir: t.TempDir()}, agents: Agents{Paths: p}}
	in, saw := g.gather(t.Context())
	if !in.Recorded.Known || in.Recorded.Epoch != 1 || in.Recorded.ClusterID != now || len(saw.Agents) != 1 {
		t.Fatalf("%+v %+v", in.Recorded, saw)
	}
	in.Local = data(past)
	if d := Decide(in); d.Answer != Wait || !d.Archive {
		t.Errorf("%+v", d)
	}
	// The word of an agent that contradicts this node starts nothing (I3).
	self.Lineage = node.Lineage{{Epoch: 0, ClusterID: past}, {Epoch: 1, ClusterID: alien}}
	if err := node.Save(p, self); err != nil {
		t.Fatal(err)
	}
	in, _ = g.gather(t.Context())
	in.Local = Local{State: LocalPresent, ClusterID: alien, MemberID: "11", EpochKnown: true, Epoch: 1}
	if d := Decide(in); d.Answer != Wait || d.Archive || in.Peers.Conflict == "" {
		t.Errorf("%+v", d)
	}
}

func writeCA(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.crt": {Type: "CERTIFICATE", Bytes: der}, "ca.key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
