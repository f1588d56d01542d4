package staticpod

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestRenderAddress: only this node's own address changes, and neither the revision nor what it holds (P20).
func TestRenderAddress(t *testing.T) {
	const from, to = "10.90.0.11", "10.90.0.77"
	raw, err := os.ReadFile("testdata/etcd-guarded.golden")
	if err != nil {
		t.Fatal(err)
	}
	// Another member was given the address that is this node's new one, and one has this node's old one: neither is ours.
	raw = []byte(strings.Replace(string(raw), "--initial-cluster=cp-1=https://10.90.0.11:2380",
		"--initial-cluster=cp-2=https://10.90.0.11:2380,cp-1=https://10.90.0.11:2380", 1))
	ours, err := RenderRevision(raw, Content{QuotaBytes: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	got, err := RenderAddress(ours, from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(string(ours), from, to)
	want = strings.Replace(want, "cp-2=https://"+to, "cp-2=https://"+from, 1)
	want = strings.Replace(want, "  annotations:\n", "  annotations:\n    "+AddressAnnotation+": "+to+"\n", 1)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again, err := RenderAddress(got, from, to); err != nil || string(again) != string(got) {
		t.Errorf("twice is not once: %v", err)
	}
	if SameAddresses(ours, got) || !SameAddresses(got, got) {
		t.Error("SameAddresses")
	}
	before, _ := Parse(ours)
	after, _ := Parse(got)
	a, _, _ := RevisionOf(before)
	b, _, _ := RevisionOf(after)
	ca, _ := ContentOf(before)
	cb, _ := ContentOf(after)
	if a != b || ca != cb {
		t.Errorf("it is another revision: %s %s, %+v %+v", a, b, ca, cb)
	}
	// The next revision keeps the address: it is rendered from what the node has.
	next, err := RenderRevision(got, Content{QuotaBytes: 8 << 30})
	if err != nil || !SameAddresses(next, got) {
		t.Errorf("the next revision is elsewhere: %v\n%s", err, next)
	}
	if _, err := RenderAddress(got, "cp-1", to); err == nil {
		t.Error("a name was taken for an address")
	}
	kubeadms, err := os.ReadFile("testdata/etcd-kubeadm-1.37.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RenderAddress(kubeadms, from, to); !errors.Is(err, ErrNoGuard) {
		t.Errorf("a manifest without the guard: %v", err)
	}
}

func TestMoveURL(t *testing.T) {
	for _, c := range []struct{ raw, from, to, want string }{
		{"https://10.0.0.1:2380", "10.0.0.1", "10.0.0.2", "https://10.0.0.2:2380"},
		{"https://10.0.0.1", "10.0.0.1", "10.0.0.2", "https://10.0.0.2"},
		{"https://10.0.0.11:2380", "10.0.0.1", "10.0.0.2", "https://10.0.0.11:2380"},
		{"https://[fd00::1]:2380", "fd00::1", "fd00::2", "https://[fd00::2]:2380"},
		{"https://[fd00:0:0::1]", "fd00::1", "fd00::2", "https://[fd00::2]"},
		{"https://cp-1:2380", "10.0.0.1", "10.0.0.2", "https://cp-1:2380"},
	} {
		if got, moved := MoveURL(c.raw, c.from, c.to); got != c.want || moved != (got != c.raw) {
			t.Errorf("%s: %s %v, want %s", c.raw, got, moved, c.want)
		}
	}
}
