package status

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
)

const kubernetesPKI = "/etc/kubernetes/pki/"

// certificates are etcd's own and those of its clients, by kubeadm's names.
func certificates(cs []*agentpb.Certificate) []v1alpha1.CertificateStatus {
	var out []v1alpha1.CertificateStatus
	for _, c := range cs {
		_, name, ok := strings.Cut(c.GetPath(), kubernetesPKI)
		name = strings.TrimSuffix(name, ".crt")
		if !ok || !strings.HasPrefix(name, "etcd/") && name != "apiserver-etcd-client" {
			continue
		}
		out = append(out, v1alpha1.CertificateStatus{Name: name, ValidUntil: metav1.NewTime(c.GetNotAfter().AsTime()).Rfc3339Copy(), SignedBy: c.GetSignedBy()})
	}
	slices.SortFunc(out, func(a, b v1alpha1.CertificateStatus) int { return strings.Compare(a.Name, b.Name) })
	if len(out) > maxCertificates {
		out = out[:maxCertificates]
	}
	return out
}

// maxCertificates is what the API takes for one member.
const maxCertificates = 16
