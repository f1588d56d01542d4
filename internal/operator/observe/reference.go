package observe

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/backup"
)

// Reference is how the API names a backup. Its times have the API's precision, so that what was written compares equal
// to what is read.
func Reference(e backup.Entry) *v1alpha1.BackupReference {
	r := &v1alpha1.BackupReference{
		ID: e.ID, Revision: e.Manifest.Database.Revision, ClusterID: e.Manifest.Cluster.ClusterID, Digest: e.Manifest.Digest,
	}
	t := metav1.NewTime(e.Manifest.StartedAt).Rfc3339Copy()
	r.Time = &t
	if e.Proof != nil {
		p := metav1.NewTime(e.Proof.At).Rfc3339Copy()
		r.ProvenTime = &p
	}
	return r
}
