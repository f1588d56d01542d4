package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Field names what differs.
type Field string

// The fields that Compare looks at.
const (
	FieldEncryptionKeys Field = "encryptionKeys"
	FieldServiceAccount Field = "serviceAccount"
	FieldEtcdCA         Field = "etcdCA"
	FieldKubernetesCA   Field = "kubernetesCA"
	FieldStorageVersion Field = "storageVersion"
)

// Difference between a node and a backup.
type Difference struct {
	Field Field
	Text  string
}

// Compare says what of a node does not fit a backup, before anything is changed (I25). What is not known on one side is
// no difference.
func Compare(here Cluster, m Manifest) []Difference {
	var out []Difference
	var missing []string
	for _, k := range m.Cluster.EncryptionKeys {
		if !slices.Contains(here.EncryptionKeys, k) {
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 { // P7
		out = append(out, Difference{FieldEncryptionKeys, fmt.Sprintf(
			"its Secrets are encrypted with the %s, which this node's encryption configuration lacks: the API server could not read them; put that configuration back first (`ceo backup fetch %s --resources DIR` has it)",
			keys(missing), m.ID)})
	}
	differ := func(f Field, a, b, text string) {
		if a != "" && b != "" && a != b {
			out = append(out, Difference{f, text})
		}
	}
	differ(FieldServiceAccount, here.ServiceAccount, m.Cluster.ServiceAccount, // P8
		"the service account key (sa.pub) of this node is not the one of the backup: every token in the restored data is refused (401) until it is made anew; put the backup's sa.key and sa.pub back, or accept that")
	differ(FieldEtcdCA, here.EtcdCA, m.Cluster.EtcdCA, "the backup is of a cluster with another etcd CA")
	differ(FieldKubernetesCA, here.KubernetesCA, m.Cluster.KubernetesCA, "the backup is of a cluster with another Kubernetes CA")
	if err := CheckVersion(m.Database.StorageVersion, here.EtcdVersion); err != nil { // P30
		out = append(out, Difference{FieldStorageVersion, err.Error()})
	}
	return out
}

// ErrNewerData: the data was written by a newer etcd than the one that is to serve it.
var ErrNewerData = errors.New("the data is of a newer etcd")

// CheckVersion refuses an etcd that is older than the storage version of the data (I22, P30). Data of etcd 3.5 has none,
// and an etcd whose version is not known is no difference.
func CheckVersion(storage, etcd string) error {
	if storage == "" || etcd == "" {
		return nil
	}
	var s, e [2]int
	if _, err := fmt.Sscanf(storage, "%d.%d", &s[0], &s[1]); err != nil {
		return fmt.Errorf("the storage version %q of the data is not of the form 3.7", storage)
	}
	if _, err := fmt.Sscanf(strings.TrimPrefix(etcd, "v"), "%d.%d", &e[0], &e[1]); err != nil {
		return fmt.Errorf("the version %q of etcd is not of the form 3.7.3", etcd)
	}
	if slices.Compare(s[:], e[:]) > 0 {
		return fmt.Errorf("%w: its storage version is %s, and etcd here is %s: use etcd %s or newer", ErrNewerData, storage, etcd, storage)
	}
	return nil
}

func keys(names []string) string {
	if len(names) == 1 {
		return "key " + names[0]
	}
	return "keys " + strings.Join(names, ", ")
}
