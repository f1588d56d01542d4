package agent

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// A kube-apiserver that was there when the set of CAs changed counts as one that read the former, also where that was
// noted late; a new container does not. The order in a bundle, and clocks, play no part.
func TestStaleContainers(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	must(t, durable.MkdirAll(p.EtcdCAs(), 0o700))
	for _, row := range []struct {
		what    string
		trusted []string
		running []string
		want    bool
	}{
		{"the set changed", []string{"old", "new"}, []string{"a"}, true},
		{"still", []string{"old", "new"}, []string{"a"}, true},
		{"the bundle's order changed", []string{"new", "old"}, []string{"a"}, true},
		{"none runs: the next will read it", []string{"new", "old"}, nil, false},
		{"a new one", []string{"new", "old"}, []string{"b"}, false},
		{"and its predecessor beside it", []string{"new", "old"}, []string{"a", "b"}, true},
		{"the old CA is forgotten", []string{"new"}, []string{"b"}, true},
		{"a third one", []string{"new"}, []string{"c"}, false},
	} {
		if got, err := staleContainers(p, row.trusted, row.running); err != nil || got != row.want {
			t.Fatalf("%s: %v %v", row.what, got, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The steps of a change of the CA by the agent's call: twice is as once (I20), the wrong order is refused and changes
// nothing, and what could not be asked is an error, not an answer (I23).
func TestRotateCA(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: the operator's files cannot be given away, which is logged and no more")
	}
	p := node.Paths{Root: t.TempDir()}
	old, err := pki.MakeCA(time.Now(), 0)
	must(t, err)
	must(t, old.Write(p.EtcdPKI(), "ca"))
	rt, err := cri.Open(p.Root + "/none.sock")
	must(t, err)
	defer func() { _ = rt.Close() }()
	a := &Agent{
		paths: p, log: slog.New(slog.DiscardHandler), cri: rt, life: func() time.Duration { return time.Hour },
		config: node.Config{Name: "cp-1", Address: "127.0.0.1", PeerURL: "https://127.0.0.1:1"},
	}
	if a.caState(t.Context()) != nil {
		t.Error("a node where nothing was begun says that something was")
	}
	next, err := pki.MakeCA(time.Now(), 0)
	must(t, err)
	cert, err := pki.ParseCertificate(next.Cert)
	must(t, err)
	oldCert, err := pki.ParseCertificate(old.Cert)
	must(t, err)
	f, of := pki.Fingerprint(cert), pki.Fingerprint(oldCert)
	trust := &agentpb.RotateCARequest{Step: "trust", Certificate: next.Cert, Key: next.Key}
	again := &agentpb.RotateCARequest{Step: "trust", Fingerprint: f}
	sign := &agentpb.RotateCARequest{Step: "sign", Fingerprint: f}
	forget := &agentpb.RotateCARequest{Step: "forget", Fingerprint: of}
	for _, row := range []struct {
		what     string
		req      *agentpb.RotateCARequest
		want     codes.Code
		trusted  int
		signing  string
		leavesBy string
	}{
		{"sign first", sign, codes.FailedPrecondition, 1, of, ""},
		{"a CA that was never given", again, codes.Internal, 1, of, ""},
		{"a key of another", &agentpb.RotateCARequest{Step: "trust", Certificate: next.Cert, Key: old.Key}, codes.Internal, 1, of, ""},
		{"no such step", &agentpb.RotateCARequest{Step: "replace"}, codes.InvalidArgument, 1, of, ""},
		{"trust", trust, codes.OK, 2, of, of},
		{"trust again", trust, codes.OK, 2, of, of},
		{"trust what is known", again, codes.OK, 2, of, of},
		{"forget before signing", forget, codes.FailedPrecondition, 2, of, of},
		{"sign", sign, codes.OK, 2, f, f},
		{"sign again", sign, codes.OK, 2, f, f},
		{"forget what signs now", &agentpb.RotateCARequest{Step: "forget", Fingerprint: f}, codes.FailedPrecondition, 2, f, f},
		{"forget", forget, codes.OK, 1, f, f},
		{"forget again", forget, codes.OK, 1, f, f},
	} {
		reply, err := a.RotateCA(t.Context(), row.req)
		if status.Code(err) != row.want {
			t.Fatalf("%s: %v", row.what, err)
		}
		s, err := pki.ReadCAState(p)
		must(t, err)
		if len(s.Trusted) != row.trusted || s.Signing != row.signing {
			t.Fatalf("%s: trusts %d, signs with %.12s", row.what, len(s.Trusted), s.Signing)
		}
		if row.want != codes.OK {
			continue
		}
		for i, by := range reply.GetState().GetLeavesSignedBy() {
			if by != row.leavesBy {
				t.Errorf("%s: %s is signed by %.12s", row.what, reply.GetState().GetLeafNames()[i], by)
			}
		}
		if len(reply.GetState().GetLeavesSignedBy()) < 2 || reply.GetState().GetEtcdError() == "" || reply.GetState().GetApiServerError() == "" {
			t.Errorf("%s: %v", row.what, reply.GetState())
		}
	}
}
