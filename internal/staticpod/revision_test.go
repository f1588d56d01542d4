package staticpod

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func guarded(t testing.TB, change ...func(*corev1.Pod)) []byte {
	t.Helper()
	raw, err := RenderGuardedEtcd(kubeadmManifest(t), Options{CeoImage: "clusteretcd.io/ceo:v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(pod)
	}
	if raw, err = marshal(pod); err != nil {
		t.Fatal(err)
	}
	return raw
}

func parsed(t testing.TB, raw []byte) *corev1.Pod {
	t.Helper()
	pod, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func withFlags(flags ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Command = append(p.Spec.Containers[0].Command, flags...) }
}

func withImage(image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }
}

func TestRenderRevision(t *testing.T) {
	for name, c := range map[string]struct {
		before  []byte
		content Content
		// flags that are there afterwards, and not; image.
		flags, not []string
		image      string
	}{
		"nothing":                {guarded(t), Content{}, nil, []string{"--quota-backend-bytes"}, "registry.k8s.io/etcd:3.7.0-0"},
		"a quota":                {guarded(t), Content{QuotaBytes: 4 << 30}, []string{"--quota-backend-bytes=4294967296"}, nil, "registry.k8s.io/etcd:3.7.0-0"},
		"etcd's own quota":       {guarded(t), Content{QuotaBytes: DefaultQuotaBytes}, nil, []string{"--quota-backend-bytes"}, "registry.k8s.io/etcd:3.7.0-0"},
		"another quota":          {guarded(t, withFlags("--quota-backend-bytes", "1073741824")), Content{QuotaBytes: 4 << 30}, []string{"--quota-backend-bytes=4294967296"}, []string{"1073741824"}, "registry.k8s.io/etcd:3.7.0-0"},
		"timing":                 {guarded(t), Content{HeartbeatMilliseconds: 500, ElectionMilliseconds: 5000}, []string{"--heartbeat-interval=500", "--election-timeout=5000"}, nil, "registry.k8s.io/etcd:3.7.0-0"},
		"the version that it is": {guarded(t, withImage("mirror.local:5000/etcd:v3.7.0")), Content{Version: "3.7.0"}, nil, nil, "mirror.local:5000/etcd:v3.7.0"},
		"a version":              {guarded(t), Content{Version: "3.7.3"}, nil, nil, "registry.k8s.io/etcd:3.7.3-0"},
		"an image":               {guarded(t), Content{Version: "3.7.3", Image: "mirror.local/etcd:3.7.3-1"}, nil, nil, "mirror.local/etcd:3.7.3-1"},
		"P23: 3.5's flags in 3.6": {
			guarded(t, withImage("registry.k8s.io/etcd:3.5.26-0"), withFlags("--experimental-initial-corrupt-check=true", "--experimental-compaction-batch-limit", "100", "--enable-v2=false")),
			Content{Version: "3.6.6"},
			[]string{"--feature-gates=InitialCorruptCheck=true", "--compaction-batch-limit=100"},
			[]string{"--experimental-", "--enable-v2"},
			"registry.k8s.io/etcd:3.6.6-0",
		},
		"3.6's flags in 3.5, while it is mixed": {
			guarded(t, withImage("registry.k8s.io/etcd:3.6.6-0")),
			Content{Version: "3.5.26"},
			[]string{"--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s"},
			[]string{"--feature-gates"},
			"registry.k8s.io/etcd:3.5.26-0",
		},
		"names that 3.6 still knew": {
			guarded(t, withImage("registry.k8s.io/etcd:3.6.6-0"), withFlags("--experimental-corrupt-check-time=1h")),
			Content{Version: "3.7.3"},
			[]string{"--corrupt-check-time=1h"},
			[]string{"--experimental-"},
			"registry.k8s.io/etcd:3.7.3-0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := RenderRevision(c.before, c.content)
			if err != nil {
				t.Fatal(err)
			}
			pod := parsed(t, raw)
			command := strings.Join(pod.Spec.Containers[0].Command, " ")
			for _, f := range c.flags {
				if !slices.Contains(pod.Spec.Containers[0].Command, f) {
					t.Errorf("%s is missing in %s", f, command)
				}
			}
			for _, f := range c.not {
				if strings.Contains(command, f) {
					t.Errorf("%s is still in %s", f, command)
				}
			}
			if got := pod.Spec.Containers[0].Image; got != c.image {
				t.Errorf("image %s, want %s", got, c.image)
			}
			if r, ours, err := RevisionOf(pod); err != nil || !ours || r != c.content.Hash() {
				t.Errorf("revision %s %v %v", r, ours, err)
			}
			have, err := ContentOf(pod)
			if err != nil || !c.content.HeldBy(have) {
				t.Errorf("it does not hold what was asked for: %+v, %v", have, err)
			}
			again, err := RenderRevision(raw, c.content)
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("rendering again changes it: %v", err)
			}
		})
	}
}

func TestRenderRevisionRefuses(t *testing.T) {
	if _, err := RenderRevision(kubeadmManifest(t), Content{}); !errors.Is(err, ErrNoGuard) {
		t.Errorf("P25: a manifest without the guard: %v", err)
	}
	for _, raw := range []string{`{"quotaBytes":-1}`, `{"unknown":1}`, `{"image":"no-tag"}`, `{"image":"a b:c"}`, `{"version":"latest"}`, `{"version":"v3.6.6"}`, `x`} {
		if c, err := ParseContent([]byte(raw)); err == nil {
			t.Errorf("%s is taken: %+v", raw, c)
		}
	}
}

// The annotation becomes a file's name.
func TestRevisionOfStrangeName(t *testing.T) {
	pod := parsed(t, guarded(t))
	pod.Annotations[RevisionAnnotation] = "../../../etc/passwd"
	if r, ours, err := RevisionOf(pod); err != nil || ours || strings.Contains(r, "/") {
		t.Errorf("%s %v %v", r, ours, err)
	}
}

func anyContent(t *rapid.T) Content {
	return Content{
		Version:    rapid.SampledFrom([]string{"", "3.7.0", "3.7.3"}).Draw(t, "version"),
		QuotaBytes: rapid.SampledFrom([]int64{0, 1 << 30, 2 << 30, 8 << 30}).Draw(t, "quota"), Reason: rapid.SampledFrom([]string{"", "a", "b: \"c\" #"}).Draw(t, "reason"),
		HeartbeatMilliseconds: rapid.SampledFrom([]int32{0, 100, 500}).Draw(t, "heartbeat"), ElectionMilliseconds: rapid.SampledFrom([]int32{0, 1000, 5000}).Draw(t, "election"),
	}
}

// What a revision does not own stays: rendering any contents one after the other leaves everything else of the pod as it was.
func TestRenderKeepsWhatItDoesNotOwn(t *testing.T) {
	base := guarded(t, withFlags("--max-txn-ops", "256", "--auto-compaction-retention=1h"))
	rapid.Check(t, func(t *rapid.T) {
		raw := base
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			c := anyContent(t)
			next, err := RenderRevision(raw, c)
			if err != nil {
				t.Fatal(err)
			}
			raw = next
			pod, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if have, err := ContentOf(pod); err != nil || !c.HeldBy(have) {
				t.Fatalf("%+v is not in %+v (%v)", c, have, err)
			}
		}
		strip := func(raw []byte) *corev1.Pod {
			pod, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			delete(pod.Annotations, RevisionAnnotation)
			delete(pod.Annotations, ReasonAnnotation)
			c := &pod.Spec.Containers[0]
			c.Image = ""
			c.Command = slices.DeleteFunc(c.Command, func(a string) bool {
				return strings.HasPrefix(a, "--quota-backend-bytes=") || strings.HasPrefix(a, "--heartbeat-interval=") || strings.HasPrefix(a, "--election-timeout=")
			})
			return pod
		}
		if a, b := strip(base), strip(raw); !reflect.DeepEqual(a, b) {
			t.Fatalf("it became\n%+v\nfrom\n%+v", b, a)
		}
	})
}

// The name follows from the content alone, and differs where the content does.
func TestHash(t *testing.T) {
	if got := (Content{Version: "3.7.3", QuotaBytes: 8 << 30, Reason: "new kernel"}).Hash(); got != "4f4d18086c083c2d" {
		t.Errorf("the name of a revision that lies on nodes has changed: %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyContent(t), anyContent(t)
		if (a == b) != (a.Hash() == b.Hash()) {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}

// Adoption restarts nothing: what a manifest holds, named outright, is held.
func TestHeldBy(t *testing.T) {
	have, err := ContentOf(parsed(t, guarded(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Content{{}, {Version: "3.7.0"}, {QuotaBytes: 2 << 30}, {HeartbeatMilliseconds: 100, ElectionMilliseconds: 1000}, {Image: have.Image, Version: have.Version}} {
		if !c.HeldBy(have) {
			t.Errorf("%+v would restart every member", c)
		}
	}
	for _, c := range []Content{{Reason: "x"}, {QuotaBytes: 8 << 30}, {Version: "3.7.3"}, {HeartbeatMilliseconds: 500}} {
		if c.HeldBy(have) {
			t.Errorf("%+v would not be rolled out", c)
		}
	}
}

// TestRenderKubeadm: what an uninstallation puts back runs on the data as it is by then, at the address of then.
func TestRenderKubeadm(t *testing.T) {
	kept := kubeadmManifest(t)
	if got, err := RenderKubeadm(kept, guarded(t)); err != nil || !bytes.Equal(got, kept) {
		t.Fatalf("nothing was changed, and it is not kubeadm's own: %v\n%s", err, got)
	}
	live, err := RenderRevision(guarded(t), Content{QuotaBytes: 4 << 30, Version: "3.7.3", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if live, err = RenderAddress(live, "10.90.0.11", "10.90.0.77"); err != nil {
		t.Fatal(err)
	}
	raw, err := RenderKubeadm(kept, live)
	if err != nil {
		t.Fatal(err)
	}
	got, want := parsed(t, raw), parsed(t, bytes.ReplaceAll(kept, []byte("10.90.0.11"), []byte("10.90.0.77")))
	c := &want.Spec.Containers[0]
	c.Image, c.Command = "registry.k8s.io/etcd:3.7.3-0", append(c.Command, "--quota-backend-bytes=4294967296")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s", raw)
	}
	if _, err := RenderKubeadm([]byte("kind: Pod"), live); err == nil || !strings.Contains(err.Error(), "as it was kept") {
		t.Errorf("a kept one that is none: %v", err)
	}
}
