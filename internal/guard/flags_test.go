package guard

import (
	"slices"
	"strings"
	"testing"
)

// kubeadm's flags, as an upgrade leaves them: initial-cluster names the node
// alone, and there is no state (P25).
var kubeadm = strings.Fields("etcd --advertise-client-urls=https://10.0.0.1:2379 --data-dir=/var/lib/etcd --feature-gates=InitialCorruptCheck=true --initial-advertise-peer-urls=https://10.0.0.1:2380 --initial-cluster=cp-1=https://10.0.0.1:2380 --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379 --listen-metrics-urls=http://127.0.0.1:2381 --name=cp-1 --snapshot-count=10000")

func TestParseFlags(t *testing.T) {
	f := ParseFlags(kubeadm)
	if f.Problem != "" || f.Name != "cp-1" || f.DataDir != "/var/lib/etcd" || f.PeerURL != "https://10.0.0.1:2380" ||
		f.ProbeURL != "http://127.0.0.1:2381" || !slices.Equal(f.InitialPeers, []string{"https://10.0.0.1:2380"}) {
		t.Errorf("%+v", f)
	}
	spaced := ParseFlags(strings.Fields("etcd -name cp-1 --data-dir /d --initial-advertise-peer-urls http://a:1 --pre-vote --initial-cluster cp-1=http://a:1,cp-2=http://b:1"))
	if spaced.Problem != "" || spaced.Name != "cp-1" || spaced.DataDir != "/d" || len(spaced.InitialPeers) != 2 {
		t.Errorf("%+v", spaced)
	}
	if got := f.clientURL("https://10.0.0.7:2380"); got != "https://10.0.0.7:2379" {
		t.Error(got)
	}
}

func TestParseFlagsRefusesWhatOverridesTheDecision(t *testing.T) {
	for _, flag := range []string{"--config-file=/etc/etcd.yaml", "--force-new-cluster", "--force-new-cluster=true", "--discovery-srv example.org", "--wal-dir=/wal", "--data-dir=etcd", "--name=", "--initial-advertise-peer-urls=http://a:1,http://b:1"} {
		t.Run(flag, func(t *testing.T) {
			f := ParseFlags(append(slices.Clone(kubeadm), strings.Fields(flag)...))
			if f.Problem == "" {
				t.Error("accepted")
			}
		})
	}
	if p := ParseFlags(append(slices.Clone(kubeadm), "--force-new-cluster=false")).Problem; p != "" {
		t.Error(p)
	}
	if ParseFlags(nil).Problem == "" {
		t.Error("accepted no command")
	}
}

func TestWithLeavesTheOtherFlagsAlone(t *testing.T) {
	d := Decision{InitialCluster: "cp-1=https://10.0.0.1:2380,cp-2=https://10.0.0.2:2380", InitialClusterState: "existing"}
	got := ParseFlags(kubeadm).With(d)
	want := slices.DeleteFunc(slices.Clone(kubeadm), func(s string) bool { return strings.HasPrefix(s, "--initial-cluster=") })
	want = append(want, "--initial-cluster="+d.InitialCluster, "--initial-cluster-state=existing")
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = ParseFlags(strings.Fields("etcd --initial-cluster a=b --pre-vote -initial-cluster-token old --name x")).With(Decision{InitialCluster: "x=y", InitialClusterState: "new", InitialClusterToken: "t"})
	if s := strings.Join(got, " "); s != "etcd --pre-vote --name x --initial-cluster=x=y --initial-cluster-state=new --initial-cluster-token=t" {
		t.Error(s)
	}
}

func TestEnviron(t *testing.T) {
	got := Environ([]string{"PATH=/bin", "ETCD_FORCE_NEW_CLUSTER=true", "ETCD_INITIAL_CLUSTER=x", "ETCD_QUOTA_BACKEND_BYTES=1"})
	if !slices.Equal(got, []string{"PATH=/bin", "ETCD_QUOTA_BACKEND_BYTES=1"}) {
		t.Error(got)
	}
}
