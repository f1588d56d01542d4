package status

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
)

func TestCertificatesNameTheirCA(t *testing.T) {
	end := timestamppb.New(time.Now().Add(time.Hour))
	got := certificates([]*agentpb.Certificate{
		{Path: "/etc/kubernetes/pki/etcd/server.crt", NotAfter: end, SignedBy: "abc"},
		{Path: "/etc/kubernetes/pki/apiserver.crt", NotAfter: end},
		{Path: "/etc/kubernetes/pki/apiserver-etcd-client.crt", NotAfter: end, SignedBy: "def"},
	})
	if len(got) != 2 || got[0].Name != "apiserver-etcd-client" || got[0].SignedBy != "def" || got[1].Name != "etcd/server" || got[1].SignedBy != "abc" {
		t.Errorf("%+v", got)
	}
}

// Certificates of minutes are no news every minute: they are renewed before a quarter of the life is left.
func TestExpiringFollowsTheLife(t *testing.T) {
	cluster := &v1alpha1.EtcdCluster{}
	s := seen{}
	s.Cluster = cluster
	for life, want := range map[time.Duration]time.Duration{0: expiring, 8760 * time.Hour: expiring, 10 * time.Minute: 150 * time.Second} {
		cluster.Spec.TLS.LeafLifetime = metav1.Duration{Duration: life}
		if got := s.expiring(); got != want {
			t.Errorf("%v: %v, want %v", life, got, want)
		}
	}
}
