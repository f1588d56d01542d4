package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EtcdClusterStatus is what was seen.
//
// Writing it is itself a write to etcd. Figures that always move (revisions, sizes) are therefore written along with
// other changes, or when they have moved far, and never kept current for their own sake: at rest nothing is written.
type EtcdClusterStatus struct {
	// The generation of the spec that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Available, Progressing, Degraded, QuorumSafe, BackupsProven, Upgradeable.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// What is wrong, or what is being done, in one line.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Summary string `json:"summary,omitempty"`
	// Healthy voters of those that there should be, e.g. 3/3.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Ready string `json:"ready,omitempty"`

	// Cluster id as etcdctl prints it, hexadecimal. A recovery gives a new one.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ClusterID string `json:"clusterID,omitempty"`
	// How many recoveries there were; 0 for a cluster that never had one.
	// +optional
	Epoch int64 `json:"epoch"`
	// The version that all members agree on, as etcd says it, e.g. 3.7.0. It follows the last member's upgrade.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+\.[0-9]+\.[0-9]+$`
	// +kubebuilder:validation:MaxLength=32
	ClusterVersion string `json:"clusterVersion,omitempty"`

	// All members of the membership.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=32
	Members []MemberStatus `json:"members,omitempty"`
	// When the first certificate of any member expires.
	// +optional
	CertificatesValidUntil *metav1.Time `json:"certificatesValidUntil,omitempty"`
	// The roll-out that runs, or the last one.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// The change of the CA that runs, or the last one.
	// +optional
	CARotation *CARotationStatus `json:"caRotation,omitempty"`
	// The newest backup that was proven.
	// +optional
	LastProvenBackup *BackupReference `json:"lastProvenBackup,omitempty"`
	// When the members' data was last compared by its hash, and was the same.
	// +optional
	LastHashCheck *metav1.Time `json:"lastHashCheck,omitempty"`
	// The id of a recovery whose journal is open. The operator changes nothing meanwhile.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	OpenRecovery string `json:"openRecovery,omitempty"`
}

// MemberRole is what a member does.
//
// +kubebuilder:validation:Enum=Leader;Follower;Learner;Unstarted;Unknown
type MemberRole string

// The roles. Unstarted: it was added and never came up. Unknown: a voter that does not answer.
const (
	RoleLeader    MemberRole = "Leader"
	RoleFollower  MemberRole = "Follower"
	RoleLearner   MemberRole = "Learner"
	RoleUnstarted MemberRole = "Unstarted"
	RoleUnknown   MemberRole = "Unknown"
)

// MemberHealth is how a member was last seen.
//
// +kubebuilder:validation:Enum=Healthy;Unhealthy;Unknown
type MemberHealth string

// The healths. Unknown: it could not be asked, which is not a death (I23).
const (
	HealthHealthy   MemberHealth = "Healthy"
	HealthUnhealthy MemberHealth = "Unhealthy"
	HealthUnknown   MemberHealth = "Unknown"
)

// MemberStatus is one member of the membership.
type MemberStatus struct {
	// Member id as etcdctl prints it, hexadecimal.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	ID string `json:"id"`
	// Its name in the membership; empty until it has started.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// The node it stands for; empty for a member that no node stands for.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// Where other members reach it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	PeerURL string `json:"peerURL,omitempty"`
	// Leader, Follower, Learner, Unstarted, or Unknown.
	// +required
	Role MemberRole `json:"role"`
	// Healthy, Unhealthy, or Unknown when it could not be asked.
	// +required
	Health MemberHealth `json:"health"`
	// Why it is not healthy.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Version of its etcd.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version,omitempty"`
	// Revision of its key space when this was written.
	// +optional
	Revision int64 `json:"revision,omitempty"`
	// Size of its database file in bytes, when this was written.
	// +optional
	DBSizeBytes int64 `json:"dbSizeBytes,omitempty"`
	// How much of that file was in use, in bytes.
	// +optional
	DBInUseBytes int64 `json:"dbInUseBytes,omitempty"`
	// Alarms that it has raised: NOSPACE, CORRUPT.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=32
	Alarms []string `json:"alarms,omitempty"`
	// Number of the static pod revision that it runs.
	// +optional
	PodRevision int64 `json:"podRevision,omitempty"`
	// Certificates on its node.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Certificates []CertificateStatus `json:"certificates,omitempty"`
}

// CertificateStatus is one certificate on a node.
type CertificateStatus struct {
	// Its name below /etc/kubernetes/pki without the ending, as kubeadm has it: etcd/ca, etcd/server, etcd/peer,
	// etcd/healthcheck-client, apiserver-etcd-client.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// When it expires.
	// +required
	ValidUntil metav1.Time `json:"validUntil"`
	// SHA-256 of the CA's certificate that signed it, hexadecimal.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SignedBy string `json:"signedBy,omitempty"`
}

// RolloutState is how a roll-out stands.
//
// +kubebuilder:validation:Enum=Running;Complete;Stopped
type RolloutState string

// The states of a roll-out. Stopped: a node did not come back healthy and was rolled back; it goes on with a new spec.
const (
	RolloutRunning  RolloutState = "Running"
	RolloutComplete RolloutState = "Complete"
	RolloutStopped  RolloutState = "Stopped"
)

// RolloutStatus is a static pod revision on its way to all nodes.
type RolloutStatus struct {
	// Number of the revision.
	// +required
	Revision int64 `json:"revision"`
	// Name of the revision: the beginning of the SHA-256 of what it was made of, hexadecimal.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Hash string `json:"hash,omitempty"`
	// Running, Complete, or Stopped: a node did not come back healthy and was rolled back.
	// +required
	State RolloutState `json:"state"`
	// What it was started for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// The node that is being changed, or that it was stopped at.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// Why it was stopped, or what it waits for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Nodes that run it, of those that are to, e.g. 1/3.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Updated string `json:"updated,omitempty"`
	// When it was begun.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// When the last node ran it.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// CARotationPhase is a step of a CA's change. Each is entered when every node reports the one before as done.
//
// +kubebuilder:validation:Enum=TrustBoth;IssueLeaves;TrustNew;Complete
type CARotationPhase string

// The phases: both CAs are trusted everywhere; every certificate is signed by the new one; the old one is trusted no more.
const (
	CATrustBoth   CARotationPhase = "TrustBoth"
	CAIssueLeaves CARotationPhase = "IssueLeaves"
	CATrustNew    CARotationPhase = "TrustNew"
	CAComplete    CARotationPhase = "Complete"
)

// CARotationStatus is a change of the CA.
type CARotationStatus struct {
	// spec.tls.caRotationReason that it was started by; empty where the CA's age did.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
	// TrustBoth: both CAs become trusted everywhere. IssueLeaves: every certificate is signed by the new one. TrustNew: the
	// old one is trusted no more. Complete.
	// +required
	Phase CARotationPhase `json:"phase"`
	// Nodes that have not reported the phase as done.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	WaitingFor []string `json:"waitingFor,omitempty"`
	// When it was begun.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// When the old CA was trusted nowhere any more.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}
