package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EtcdRecovery is a roll-back that is asked for, or the record of a recovery that was run.
//
// A roll-back is asked for in two steps: it is created without a consent, and the operator writes to the status what it
// would do and lose; the consent then names the cluster id and the backup's digest that the plan shows. A roll-back takes
// this object back in time, too, and gives the cluster a new id. So the same object, applied again afterwards by whatever
// keeps the API in step with files, is refused if it is new and brings a consent, and if it was there before, its consent
// is to a cluster that is no more (I14).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=ceo
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Complete",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].status`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].reason`,description="How it stands"
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.status.source`,description="What it restores from"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Node",type=string,priority=1,JSONPath=`.status.coordinator`
// +kubebuilder:printcolumn:name="Epoch",type=integer,priority=1,JSONPath=`.status.epoch`
// +kubebuilder:printcolumn:name="Waiting-For",type=string,priority=1,JSONPath=`.status.waitingFor`
type EtcdRecovery struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What is asked for. Nothing in it can be changed but a consent that was not given yet.
	// +required
	Spec EtcdRecoverySpec `json:"spec"`
	// How it stands; written by the operator alone.
	// +optional
	Status EtcdRecoveryStatus `json:"status,omitzero"`
}

// EtcdRecoveryList is a list of them.
//
// +kubebuilder:object:root=true
type EtcdRecoveryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []EtcdRecovery `json:"items"`
}

// RecoveryType tells the two uses apart.
//
// +kubebuilder:validation:Enum=Rollback;Record
type RecoveryType string

// The types.
const (
	RecoveryRollback RecoveryType = "Rollback"
	RecoveryRecord   RecoveryType = "Record"
)

// EtcdRecoverySpec holds the one of rollback and record that its type names.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Rollback') == has(self.rollback) && (self.type == 'Record') == has(self.record)",message="type: Rollback goes with rollback alone, and type: Record with record alone"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",fieldPath=".type",message="the type of a recovery cannot be changed: create another EtcdRecovery",reason=FieldValueForbidden
type EtcdRecoverySpec struct {
	// Rollback: take this healthy cluster back to a backup. Record: a recovery that was run, written by the operator.
	// +required
	Type RecoveryType `json:"type"`
	// With type Rollback.
	// +optional
	Rollback *RollbackSpec `json:"rollback,omitempty"`
	// With type Record.
	// +optional
	Record *RecordSpec `json:"record,omitempty"`
}

// RollbackSpec takes the whole state of the cluster back in time: everything that was written since the backup is lost,
// and the control plane is down meanwhile. For one lost node nothing of this is needed: the operator replaces it.
//
// +kubebuilder:validation:XValidation:rule="self.backup == oldSelf.backup && has(self.node) == has(oldSelf.node) && (!has(self.node) || self.node == oldSelf.node)",message="a roll-back that was asked for does not change: delete it and create another EtcdRecovery",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.consent) || oldSelf.hasValue()",optionalOldSelf=true,fieldPath=".consent",message="a consent is to a plan that was shown: create the EtcdRecovery without it, read status.plan, then add it",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.consent) || (has(self.consent) && self.consent == oldSelf.consent)",fieldPath=".consent",message="a consent is for one use: once given it is neither changed nor taken back; `ceo recover --abort` stops what it started",reason=FieldValueForbidden
type RollbackSpec struct {
	// The backup's name in the catalogue, e.g. 20261124t140209z-4f1c: what `ceo backup list` shows. Not latest: a consent is
	// to one backup.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{8}t[0-9]{6}z-[0-9a-f]{4}$')",message="must be a backup's whole name, as ceo backup list shows it, e.g. 20261124t140209z-4f1c"
	Backup string `json:"backup"`
	// The recovery node: its agent runs it, and its member is the first. Unset: the leader's node.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of a node"
	Node string `json:"node,omitempty"`
	// Without it nothing is changed: the plan is made and shown in the status. It is added once that was read, and then it
	// is neither changed nor taken back.
	// +optional
	Consent *Consent `json:"consent,omitempty"`
}

// Risk is a risk by its name, as `ceo recover` has them.
//
// +kubebuilder:validation:Enum=rollback;unreachable-quorum;foreign-snapshot;take-over;service-account-key
type Risk string

// RiskRollback: everything that was written since the backup is lost. Every roll-back has it.
const RiskRollback Risk = "rollback"

// Consent is a person's word for one run.
type Consent struct {
	// The cluster id that is to be given up, as in status.plan.clusterID of the plan.
	// +required
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{1,16}$')",message="must be the cluster id in hexadecimal, as in status.plan.clusterID"
	ClusterID string `json:"clusterID"`
	// The digest of the backup, as in status.plan.backup.digest.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="must be the backup's digest, 64 hexadecimal digits, as in status.plan.backup.digest"
	BackupDigest string `json:"backupDigest"`
	// The risks that are accepted, each by its name: all that status.plan.risks lists.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.exists(r, r == 'rollback')",message="a roll-back loses everything that was written since the backup: accept that by its name, acceptRisks: [rollback]"
	AcceptRisks []Risk `json:"acceptRisks"`
}

// RecordSpec names a recovery that was run.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a record does not change",reason=FieldValueForbidden
type RecordSpec struct {
	// The recovery's id, which is its journal's name on the node.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RecoveryID string `json:"recoveryID"`
}

// EtcdRecoveryStatus is how it stands.
type EtcdRecoveryStatus struct {
	// The generation of the spec that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Planned, Complete.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// What would be done, or was.
	// +optional
	Plan *PlanStatus `json:"plan,omitempty"`
	// The recovery's id, once it runs.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RecoveryID string `json:"recoveryID,omitempty"`
	// The node whose agent runs it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Coordinator string `json:"coordinator,omitempty"`
	// What it restores from, in words: a backup's name, or a node's own data.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Source string `json:"source,omitempty"`
	// The step it is at.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Step string `json:"step,omitempty"`
	// Nodes that were dark and are still awaited.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	WaitingFor []string `json:"waitingFor,omitempty"`
	// The epoch that it began.
	// +optional
	Epoch int64 `json:"epoch,omitempty"`
	// The cluster's id before.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	OldClusterID string `json:"oldClusterID,omitempty"`
	// The cluster's id after.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	NewClusterID string `json:"newClusterID,omitempty"`
	// The last revision in the data.
	// +optional
	Revision int64 `json:"revision,omitempty"`
	// The revision that it was raised to, beyond any that was served.
	// +optional
	BumpedRevision int64 `json:"bumpedRevision,omitempty"`
	// What was lost, as far as it is known.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	Lost []string `json:"lost,omitempty"`
	// When it was begun.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// When it was over.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// PlanStatus is a plan as `ceo recover --plan` shows it.
type PlanStatus struct {
	// The plan's id; a run is refused when what it was made of has changed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// The cluster id that would be given up.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ClusterID string `json:"clusterID,omitempty"`
	// The backup that would be restored.
	// +optional
	Backup *BackupReference `json:"backup,omitempty"`
	// What was found.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Diagnosis string `json:"diagnosis,omitempty"`
	// What may be lost.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	MayLose []string `json:"mayLose,omitempty"`
	// What must be accepted by its name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Risks []RiskStatus `json:"risks,omitempty"`
	// The steps, in order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=1024
	Steps []string `json:"steps,omitempty"`
}

// RiskStatus is a risk with what it means here.
type RiskStatus struct {
	// What it is accepted by.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// What may be lost.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Text string `json:"text"`
}
