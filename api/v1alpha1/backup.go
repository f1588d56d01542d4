package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ScheduleLabel on an EtcdBackup names the EtcdBackupSchedule that asked for it.
const ScheduleLabel = "clusteretcd.io/schedule"

// EtcdBackup asks for one backup, now, and says what became of it. Deleting it deletes no backup: what lies in the store
// goes by retention, or by `ceo backup prune`.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=ceo
// +kubebuilder:printcolumn:name="Succeeded",type=string,JSONPath=`.status.conditions[?(@.type=="Succeeded")].status`,description="Made, read back and verified"
// +kubebuilder:printcolumn:name="Proven",type=string,JSONPath=`.status.conditions[?(@.type=="Proven")].status`,description="Restored for a test, and served"
// +kubebuilder:printcolumn:name="Backup",type=string,JSONPath=`.status.backup.id`,description="Name for ceo recover --from"
// +kubebuilder:printcolumn:name="Revision",type=integer,JSONPath=`.status.backup.revision`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Succeeded")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Node",type=string,priority=1,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Bytes",type=integer,priority=1,JSONPath=`.status.storedBytes`
// +kubebuilder:printcolumn:name="Location",type=string,priority=1,JSONPath=`.status.location`
// +kubebuilder:validation:XValidation:rule="self.spec == oldSelf.spec",fieldPath=".spec",message="a backup is made once, and what was asked for does not change: create another EtcdBackup",reason=FieldValueForbidden
type EtcdBackup struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What is asked for. It cannot be changed.
	// +optional
	// +kubebuilder:default={}
	Spec EtcdBackupSpec `json:"spec,omitzero"`
	// What became of it; written by the operator alone.
	// +optional
	Status EtcdBackupStatus `json:"status,omitzero"`
}

// EtcdBackupList is a list of them.
//
// +kubebuilder:object:root=true
type EtcdBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []EtcdBackup `json:"items"`
}

// EtcdBackupSpec asks for one backup, to the location that the EtcdCluster names.
type EtcdBackupSpec struct {
	// Restore it for a test afterwards: only then it counts as proven.
	// +optional
	// +kubebuilder:default=false
	Prove *bool `json:"prove,omitempty"`
	// The node whose agent makes it. Unset: one with a healthy follower.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of a node"
	Node string `json:"node,omitempty"`
}

// BackupReference names a backup and says what it holds.
type BackupReference struct {
	// Its name in the catalogue, e.g. 20261124t140209z-4f1c.
	// +required
	// +kubebuilder:validation:Pattern=`^\d{8}t\d{6}z-[0-9a-f]{4}$`
	ID string `json:"id"`
	// The last revision in it.
	// +optional
	Revision int64 `json:"revision,omitempty"`
	// The cluster it is of, hexadecimal.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ClusterID string `json:"clusterID,omitempty"`
	// SHA-256 of its manifest, hexadecimal: what a consent to restore it is bound to.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
	// When it was begun: nothing that was written later is in it.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
	// When it was last proven.
	// +optional
	ProvenTime *metav1.Time `json:"provenTime,omitempty"`
}

// EtcdBackupStatus is what became of it.
type EtcdBackupStatus struct {
	// The generation of the spec that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Succeeded, Proven.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The backup; unset until it was read back and verified (I17).
	// +optional
	Backup *BackupReference `json:"backup,omitempty"`
	// Where it lies.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Location string `json:"location,omitempty"`
	// The node whose agent made it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// The member that it is of.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Member string `json:"member,omitempty"`
	// Version of the etcd that it is of.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	EtcdVersion string `json:"etcdVersion,omitempty"`
	// Keys in it.
	// +optional
	Keys int64 `json:"keys,omitempty"`
	// Size of the database in bytes.
	// +optional
	DBSizeBytes int64 `json:"dbSizeBytes,omitempty"`
	// Size of all that lies in the store, in bytes.
	// +optional
	StoredBytes int64 `json:"storedBytes,omitempty"`
	// When it was begun.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// When it was read back and verified, or had failed.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// How long the test restore took, from the first byte read to the first answer of its etcd.
	// +optional
	ProofRestoreTime *metav1.Duration `json:"proofRestoreTime,omitempty"`
}
