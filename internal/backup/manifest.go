// Package backup is what a backup is: a folder in a store with the database, the control plane's static files and, written
// last, the manifest. It makes them, reads them, lists them and decides which to keep. docs/backup-format.md has the form.
package backup

import "time"

// FormatVersion of what is written. A reader refuses a newer one by name.
const FormatVersion = 1

// Manifest is manifest.json, the last object of a backup to be written: a folder without it is no backup.
type Manifest struct {
	FormatVersion int `json:"formatVersion"`
	// ID is the backup's name and its folder: the time it was begun and a random part, so that names sort by age and two
	// writers never share one, e.g. 20261124t140209z-4f1c.
	ID         string    `json:"id"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"` // read back and verified
	CeoVersion string    `json:"ceoVersion,omitempty"`

	Cluster  Cluster  `json:"cluster"`
	Database Database `json:"database"`
	// Resources is nil where none were asked for.
	Resources *Resources `json:"resources,omitempty"`
	// Recipients: to whom it is encrypted (age, X25519; public keys). Empty: it is not.
	Recipients []string `json:"recipients,omitempty"`
	// ReadBack says how far the reading back went before this was written: Decrypted, or StoredBytes where the node that
	// made it has no key to read it with.
	ReadBack string `json:"readBack"`
	// Digest is the SHA-256, in hex, of this manifest with an empty Digest: any changed bit is found.
	Digest string `json:"digest"`
}

// How a backup was read back.
const (
	Decrypted   = "decrypted and verified"
	StoredBytes = "stored bytes compared"
)

// StoredSize of all its objects but the manifest, in bytes.
func (m Manifest) StoredSize() int64 {
	n := m.Database.StoredSize
	if m.Resources != nil {
		n += m.Resources.StoredSize
	}
	return n
}

// Cluster says whose data it is and what it takes to use it.
type Cluster struct {
	Name        string `json:"name,omitempty"`
	ClusterID   string `json:"clusterID"` // hexadecimal, as etcdctl prints it
	MemberID    string `json:"memberID,omitempty"`
	Member      string `json:"member,omitempty"` // the snapshot is of this member
	Node        string `json:"node,omitempty"`   // where the backup was made
	Endpoint    string `json:"endpoint,omitempty"`
	EtcdVersion string `json:"etcdVersion,omitempty"`
	// KubernetesVersion is the kube-apiserver's image tag on the node, if known.
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// Fingerprints: SHA-256 in hex, of the certificate (DER) or of the public key's PEM block's bytes.
	EtcdCA         string `json:"etcdCA,omitempty"`
	KubernetesCA   string `json:"kubernetesCA,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"` // sa.pub
	// EncryptionKeys are the names of the keys of the encryption configuration, as provider/name, in its order. A name
	// is no secret.
	EncryptionKeys []string `json:"encryptionKeys,omitempty"`
}

// Database is the snapshot file (etcd's own format, with its hash at the end), as it was before compression.
type Database struct {
	Object          string `json:"object"`
	Size            int64  `json:"size"`   // of the snapshot file, bytes
	SHA256          string `json:"sha256"` // of the whole snapshot file, hex
	Hash            string `json:"hash"`   // of the backend alone, the one at the file's end, hex
	StoredSize      int64  `json:"storedSize"`
	StoredSHA256    string `json:"storedSHA256"`
	Revision        int64  `json:"revision"` // from the snapshot's own MVCC store (P15)
	CompactRevision int64  `json:"compactRevision,omitempty"`
	TotalKeys       int64  `json:"totalKeys"`
	LiveKeys        int64  `json:"liveKeys"` // -1: not counted
	Leases          int64  `json:"leases,omitempty"`
	StorageVersion  string `json:"storageVersion,omitempty"`
}

// Resources is the tar archive of the control plane's static files.
type Resources struct {
	Object       string   `json:"object"`
	Size         int64    `json:"size"` // of the tar, bytes
	SHA256       string   `json:"sha256"`
	StoredSize   int64    `json:"storedSize"`
	StoredSHA256 string   `json:"storedSHA256"`
	Files        []string `json:"files"` // paths on the node
}

// Proof is proof.json beside the manifest: written by `prove`, and replaced by a later one. It is bound to the
// manifest's digest, so a proof of another content does not count.
type Proof struct {
	ManifestSHA256 string        `json:"manifestSHA256"`
	At             time.Time     `json:"at"`
	Node           string        `json:"node,omitempty"`
	EtcdVersion    string        `json:"etcdVersion"`    // of the etcd that served it
	Revision       int64         `json:"revision"`       // that it served, before any bump
	Keys           int64         `json:"keys"`           // that it counted
	Hash           uint32        `json:"hash,omitempty"` // HashKV at Revision
	RestoreTime    time.Duration `json:"restoreTime"`    // ns: from the first byte read to the data dir in place
	ServeTime      time.Duration `json:"serveTime"`      // ns: from etcd's start to its first answer
	Digest         string        `json:"digest"`         // as Manifest's
}
