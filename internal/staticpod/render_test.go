package staticpod

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

func kubeadmManifest(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/etcd-kubeadm-1.37.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and look at the change:\n%s", name, got)
	}
}

func TestGuardedEtcdGolden(t *testing.T) {
	got, err := RenderGuardedEtcd(kubeadmManifest(t), Options{CeoImage: "clusteretcd.io/ceo:v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "etcd-guarded.golden", got)
}

func TestAgentGolden(t *testing.T) {
	got, err := RenderAgent(Options{CeoImage: "clusteretcd.io/ceo:v0.1.0", DataDir: "/var/lib/etcd", CADirs: []string{"/etc/ssl/certs"}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "ceo-agent.golden", got)
	pod, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if pod.Labels["component"] == "etcd" || pod.Labels["tier"] == "control-plane" {
		t.Error("kubeadm would take the agent for an etcd member")
	}
	if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
		t.Error("P28: the agent must not have credentials of the API")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil || v.ConfigMap != nil || v.Projected != nil {
			t.Errorf("volume %s: a static pod cannot refer to the API's objects", v.Name)
		}
	}
}

// What kubeadm reads of an etcd pod is as kubeadm made it.
func TestGuardedKeepsWhatKubeadmReads(t *testing.T) {
	before, err := Parse(kubeadmManifest(t))
	if err != nil {
		t.Fatal(err)
	}
	out, err := RenderGuardedEtcd(kubeadmManifest(t), Options{CeoImage: "i"})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before.ObjectMeta, after.ObjectMeta) {
		t.Errorf("labels or annotation changed: %v", after.ObjectMeta)
	}
	b, a := before.Spec.Containers[0], after.Spec.Containers[0]
	if a.Name != b.Name || a.Image != b.Image || !reflect.DeepEqual(a.Resources, b.Resources) ||
		!reflect.DeepEqual(a.Ports, b.Ports) || !reflect.DeepEqual(a.Env, b.Env) {
		t.Error("container etcd changed in what kubeadm reads")
	}
	for i, v := range before.Spec.Volumes {
		if !reflect.DeepEqual(after.Spec.Volumes[i], v) {
			t.Errorf("volume %s changed", v.Name)
		}
	}
	if after.Spec.PriorityClassName != before.Spec.PriorityClassName || after.Spec.HostNetwork != before.Spec.HostNetwork {
		t.Error("priority or host network changed")
	}
	if got := etcdCommand(after); !reflect.DeepEqual(got, b.Command) {
		t.Errorf("etcd's own command line changed: %v", got)
	}
	if !IsGuarded(after) || IsGuarded(before) {
		t.Error("IsGuarded does not tell them apart")
	}
	if CeoImage(after) != "i" || CeoImage(before) != "" {
		t.Error("CeoImage")
	}
	// A guard that waits must be alive to the kubelet from its start (kubeadm-contract).
	if p := a.StartupProbe; p.HTTPGet.Path != "/livez" || p.HTTPGet.Port.IntValue() != 2383 || p.FailureThreshold != b.StartupProbe.FailureThreshold {
		t.Errorf("start-up probe: %v", p)
	}
	if a.ReadinessProbe.HTTPGet.Path != "/readyz" || a.LivenessProbe.HTTPGet.Path != "/livez" {
		t.Error("probes do not ask the guard")
	}
}

// Guarding a guarded manifest changes nothing, whatever flags and volumes the first one had.
func TestGuardingIsIdempotent(t *testing.T) {
	base := kubeadmManifest(t)
	rapid.Check(t, func(t *rapid.T) {
		pod, err := Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		c := &pod.Spec.Containers[0]
		flag := rapid.StringMatching(`--[a-z-]{1,12}(=[a-z0-9:/,. -]{0,20})?`)
		c.Command = append(c.Command, rapid.SliceOf(flag).Draw(t, "flags")...)
		if rapid.Bool().Draw(t, "args") {
			c.Args, c.Command = c.Command[1:], c.Command[:1]
		}
		if rapid.Bool().Draw(t, "no start-up probe") {
			c.StartupProbe = nil
		}
		if rapid.Bool().Draw(t, "other init container") {
			pod.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "x"}}
		}
		in, err := marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		once, err := RenderGuardedEtcd(in, Options{CeoImage: "a"})
		if err != nil {
			t.Fatal(err)
		}
		twice, err := RenderGuardedEtcd(once, Options{CeoImage: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("not idempotent:\n%s\n%s", once, twice)
		}
		other, err := RenderGuardedEtcd(once, Options{CeoImage: "b"})
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := RenderGuardedEtcd(in, Options{CeoImage: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(other, fresh) {
			t.Fatalf("another image gives another manifest than a fresh rendering:\n%s\n%s", other, fresh)
		}
	})
}

func TestRefusedManifests(t *testing.T) {
	for name, row := range map[string]struct{ manifest, want string }{
		"no yaml":        {"\t:", "no YAML"},
		"empty":          {"", "not a v1 Pod"},
		"no pod":         {"apiVersion: v1\nkind: Service\nmetadata: {name: etcd}", "not a v1 Pod"},
		"no container":   {"apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}", "no container"},
		"not etcd first": {"apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{name: x, command: [etcd]}]}", `first container is "x"`},
		"no command":     {"apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{name: etcd}]}", "no command"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := RenderGuardedEtcd([]byte(row.manifest), Options{CeoImage: "i"})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestEtcdFlags(t *testing.T) {
	guarded, err := RenderGuardedEtcd(kubeadmManifest(t), Options{CeoImage: "i"})
	if err != nil {
		t.Fatal(err)
	}
	for name, manifest := range map[string][]byte{"kubeadm's": kubeadmManifest(t), "guarded": guarded} {
		t.Run(name, func(t *testing.T) {
			pod, err := Parse(manifest)
			if err != nil {
				t.Fatal(err)
			}
			f, err := EtcdFlags(pod)
			if err != nil {
				t.Fatal(err)
			}
			addr, err := f.Address()
			if err != nil {
				t.Fatal(err)
			}
			got := []string{f.Name, f.DataDir, f.InitialCluster, f.InitialAdvertisePeerURLs[0], f.AdvertiseClientURLs[0], f.LocalClientURL(), addr, f.ListenMetricsURLs[0]}
			want := []string{"cp-1", "/var/lib/etcd", "cp-1=https://10.90.0.11:2380", "https://10.90.0.11:2380", "https://10.90.0.11:2379", "https://127.0.0.1:2379", "10.90.0.11", "http://127.0.0.1:2381"}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
	pod, err := Parse([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{name: etcd, command: [etcd, --name, x, -data-dir=/d]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := EtcdFlags(pod)
	if err == nil || !strings.Contains(err.Error(), "initial-advertise-peer-urls") {
		t.Errorf("a manifest without URLs: %v", err)
	}
	if f.Name != "x" || f.DataDir != "/d" {
		t.Errorf("flags in the other forms: %+v", f)
	}
}
