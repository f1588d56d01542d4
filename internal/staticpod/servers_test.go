package staticpod

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/node"
)

const loopback = "https://127.0.0.1:2379"

func kubeadmAPIServer(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/kube-apiserver-kubeadm-1.37.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Of kubeadm's manifest one line changes, and there and back is the same bytes.
func TestRenderEtcdServers(t *testing.T) {
	raw := kubeadmAPIServer(t)
	list := []string{loopback, "https://192.0.2.12:2379", "https://[2001:db8::13]:2379"}
	got, err := RenderEtcdServers(raw, list)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Replace(raw, []byte("--etcd-servers="+loopback), []byte("--etcd-servers="+strings.Join(list, ",")), 1); !bytes.Equal(got, want) {
		t.Errorf("more than the flag has changed:\n%s", got)
	}
	if have, err := EtcdServers(got); err != nil || !slices.Equal(have, list) {
		t.Errorf("%v, %v", have, err)
	}
	if again, err := RenderEtcdServers(got, list); err != nil || !bytes.Equal(again, got) {
		t.Errorf("a second time: %v", err)
	}
	if back, err := RenderEtcdServers(got, []string{loopback}); err != nil || !bytes.Equal(back, raw) {
		t.Errorf("not the same bytes: %v", err)
	}
}

func TestRenderEtcdServersOtherForms(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  - name: kube-apiserver\n"
	for _, row := range []struct{ name, spec, want string }{
		{"quoted", "    command: [\"kube-apiserver\", \"--etcd-servers=https://a:1\", \"--x=y\"]\n", "--etcd-servers=https://b:2,https://c:3"},
		{"two words", "    command:\n    - kube-apiserver\n    - --etcd-servers\n    - https://a:1\n    - --x=y\n", "--etcd-servers=https://b:2,https://c:3"},
		{"in args", "    command: [kube-apiserver]\n    args:\n    - --etcd-servers=https://a:1\n    - --x=y\n", "--etcd-servers=https://b:2,https://c:3"},
		{"beside overrides", "    command:\n    - kube-apiserver\n    - --etcd-servers-overrides=/events#https://e:9\n    - --etcd-servers=https://a:1\n    - --x=y\n", "--etcd-servers-overrides=/events#https://e:9"},
		{"named in a comment", "    command:\n    - kube-apiserver\n    # --etcd-servers=https://old:1\n    - --etcd-servers=https://a:1\n    - --x=y\n", "--etcd-servers=https://b:2,https://c:3"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := RenderEtcdServers([]byte(head+row.spec), []string{"https://b:2", "https://c:3"})
			if err != nil {
				t.Fatal(err)
			}
			pod, err := Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			if f := FlagsOf(pod); f["etcd-servers"] != "https://b:2,https://c:3" || f["x"] != "y" || !strings.Contains(string(got), row.want) {
				t.Errorf("%v\n%s", f, got)
			}
		})
	}
}

func TestRenderEtcdServersRefuses(t *testing.T) {
	raw := kubeadmAPIServer(t)
	for _, row := range []struct {
		name     string
		manifest []byte
		servers  []string
	}{
		{"no server", raw, nil},
		{"a word that is none", raw, []string{"https://a:1", "rm -rf"}},
		{"one with a comma", raw, []string{"https://a:1,https://b:2"}},
		{"one with a line", raw, []string{"https://a:1\n    - --anonymous-auth=true"}},
		{"the same twice", raw, []string{loopback, loopback}},
		{"too many", raw, strings.Split(strings.Repeat("https://a:1 ", 10), " ")},
		{"no manifest", []byte("{"), []string{loopback}},
		{"no list in it", bytes.Replace(raw, []byte("    - --etcd-servers="+loopback+"\n"), nil, 1), []string{loopback}},
		{"another pod", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{name: etcd, command: [etcd]}]}"), []string{loopback}},
	} {
		if got, err := RenderEtcdServers(row.manifest, row.servers); err == nil {
			t.Errorf("%s: rendered\n%s", row.name, got)
		}
	}
}

func newServersNode(t *testing.T) (node.Paths, func() string) {
	t.Helper()
	p := node.Paths{Root: t.TempDir()}
	for _, dir := range []string{p.Manifests(), p.State()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Place(p.Manifests(), APIServerFile, kubeadmAPIServer(t)); err != nil {
		t.Fatal(err)
	}
	return p, func() string {
		raw, err := os.ReadFile(filepath.Join(p.Manifests(), APIServerFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

func place(t *testing.T, p node.Paths, pods []string, servers ...string) {
	t.Helper()
	if _, err := PlaceServers(p, p.Manifests(), servers, pods); err != nil {
		t.Fatal(err)
	}
}

// What kubeadm had is kept byte for byte, and comes back, however often the list was changed and whoever changed the rest.
func TestPlaceServersKeepsTheOriginal(t *testing.T) {
	p, live := newServersNode(t)
	kubeadm := live()
	if want, err := OriginalServers(p); err != nil || want != nil {
		t.Fatalf("nothing was changed, and %s is to be put back: %v", want, err)
	}
	place(t, p, []string{"h1"}, loopback, "https://b:1")
	place(t, p, []string{"h2"}, loopback, "https://b:1", "https://c:1")
	if raw, err := os.ReadFile(filepath.Join(p.Kubeadm(), APIServerFile)); err != nil || string(raw) != kubeadm {
		t.Errorf("kubeadm's manifest is not kept: %v", err)
	}
	if want, err := OriginalServers(p); err != nil || string(want) != kubeadm {
		t.Errorf("not what kubeadm had: %v\n%s", err, want)
	}
	// Somebody changes another flag of it: that stays, and the list goes back to kubeadm's.
	edited := strings.Replace(live(), "--secure-port=6443", "--secure-port=6444", 1)
	if err := Place(p.Manifests(), APIServerFile, []byte(edited)); err != nil {
		t.Fatal(err)
	}
	place(t, p, nil, loopback)
	place(t, p, nil, loopback, "https://c:1")
	want, err := OriginalServers(p)
	if err != nil || string(want) != strings.Replace(kubeadm, "--secure-port=6443", "--secure-port=6444", 1) {
		t.Errorf("%v\n%s", err, want)
	}
	// kubeadm writes it anew with a list of its own: nothing of ours is there.
	again := strings.Replace(kubeadm, loopback, "https://127.0.0.1:2379,https://192.0.2.11:2379", 1)
	if err := Place(p.Manifests(), APIServerFile, []byte(again)); err != nil {
		t.Fatal(err)
	}
	if want, err := OriginalServers(p); err != nil || want != nil {
		t.Errorf("kubeadm's own would be changed: %v\n%s", err, want)
	}
	place(t, p, nil, loopback)
	if want, err := OriginalServers(p); err != nil || string(want) != again {
		t.Errorf("%v\n%s", err, want)
	}
}

// I20, I21: at each point where a crash can be, the manifest is the one or the other, whole, and the same call ends the work.
func TestPlaceServersSurvivesACrash(t *testing.T) {
	for _, at := range []string{"servers: recorded", "place: temporary file written", "place: done"} {
		t.Run(at, func(t *testing.T) {
			p, live := newServersNode(t)
			kubeadm := live()
			func() {
				defer func() { reached = func(string) {}; _ = recover() }()
				reached = func(s string) {
					if s == at {
						panic(at)
					}
				}
				place(t, p, []string{"h1"}, loopback, "https://b:1")
			}()
			if _, err := EtcdServers([]byte(live())); err != nil {
				t.Fatalf("the manifest is not whole: %v", err)
			}
			place(t, p, []string{"h1"}, loopback, "https://b:1")
			if have, _ := EtcdServers([]byte(live())); !slices.Equal(have, []string{loopback, "https://b:1"}) {
				t.Errorf("%v", have)
			}
			last, known, err := ReadPlacedServers(p)
			if err != nil || !known || !last.Stale([]string{"h1"}) || last.Stale([]string{"h2"}) {
				t.Errorf("which pod is of before is not known: %+v %v", last, err)
			}
			if want, err := OriginalServers(p); err != nil || string(want) != kubeadm {
				t.Errorf("%v\n%s", err, want)
			}
			entries, err := os.ReadDir(p.Manifests())
			if err != nil || len(entries) != 1 {
				t.Errorf("the kubelet would run %v (%v)", entries, err)
			}
		})
	}
}

// A pod of before tells that the kubelet is not through, also where the list goes there and back: then it is none of before.
func TestStalePods(t *testing.T) {
	p, _ := newServersNode(t)
	stale := func(pods ...string) bool {
		s, _, err := ReadPlacedServers(p)
		if err != nil {
			t.Fatal(err)
		}
		return s.Stale(pods)
	}
	place(t, p, []string{"h1"}, loopback, "https://b:1")
	if !stale("h1") || stale("h2") {
		t.Error("the pod of before is h1")
	}
	place(t, p, []string{"h1"}, loopback) // the kubelet has not done anything yet
	if stale("h1") {
		t.Error("h1 has the list that is there again")
	}
	place(t, p, []string{"h1"}, loopback, "https://c:1")
	place(t, p, []string{"h3"}, loopback)
	if !stale("h3") || stale("h1") {
		t.Error("the pod of before is h3")
	}
}

// A damaged record keeps nobody from changing the list: a recovery does. It is set aside.
func TestDamagedRecord(t *testing.T) {
	p, _ := newServersNode(t)
	if err := os.WriteFile(placedServersPath(p), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	place(t, p, nil, "https://b:1")
	if raw, err := os.ReadFile(placedServersPath(p) + ".damaged"); err != nil || string(raw) != "{" {
		t.Errorf("%s %v", raw, err)
	}
}
