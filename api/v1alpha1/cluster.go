package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClusterName is the name of the one EtcdCluster.
const ClusterName = "cluster"

// EtcdCluster is the etcd of this Kubernetes cluster. There is one, and its name is cluster.
//
// The rules on the whole object compare what is asked for with what was last seen running. They look at a change of the
// spec alone, so that the operator can always write what it sees.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=ceo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`,description="Healthy voters of those that there should be"
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`,description="A quorum serves"
// +kubebuilder:printcolumn:name="Quorum-Safe",type=string,JSONPath=`.status.conditions[?(@.type=="QuorumSafe")].status`,description="Any one voter can be lost"
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].status`,description="Something needs to be mended"
// +kubebuilder:printcolumn:name="Backups-Proven",type=string,JSONPath=`.status.conditions[?(@.type=="BackupsProven")].status`,description="A young backup was restored for a test"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.clusterVersion`,description="Version that all members agree on"
// +kubebuilder:printcolumn:name="Summary",type=string,JSONPath=`.status.summary`,description="What is wrong, or what is being done"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Progressing",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Progressing")].status`
// +kubebuilder:printcolumn:name="Upgradeable",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Upgradeable")].status`
// +kubebuilder:printcolumn:name="Managed",type=string,priority=1,JSONPath=`.spec.managementState`
// +kubebuilder:printcolumn:name="Epoch",type=integer,priority=1,JSONPath=`.status.epoch`,description="How many recoveries there were"
// +kubebuilder:printcolumn:name="Cluster-ID",type=string,priority=1,JSONPath=`.status.clusterID`
// +kubebuilder:printcolumn:name="Certs-Until",type=string,priority=1,JSONPath=`.status.certificatesValidUntil`,description="When the first certificate expires"
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'cluster'",message="there is one etcd in a Kubernetes cluster: the name must be cluster"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.etcd.version) || !self.spec.etcd.version.matches('^3[.][0-9]+[.][0-9]+$') || (has(oldSelf.spec.etcd.version) && self.spec.etcd.version == oldSelf.spec.etcd.version) || !has(self.status) || !has(self.status.clusterVersion) || int(self.spec.etcd.version.split('.')[1]) >= int(self.status.clusterVersion.split('.')[1])",fieldPath=".spec.etcd.version",messageExpression="'the cluster runs etcd ' + self.status.clusterVersion + ', and ' + self.spec.etcd.version + ' is a downgrade, which is refused: its data may be of a newer form; restore a backup that was made before the upgrade instead'",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.spec.etcd.version) || !self.spec.etcd.version.matches('^3[.][0-9]+[.][0-9]+$') || (has(oldSelf.spec.etcd.version) && self.spec.etcd.version == oldSelf.spec.etcd.version) || !has(self.status) || !has(self.status.clusterVersion) || int(self.spec.etcd.version.split('.')[1]) <= int(self.status.clusterVersion.split('.')[1]) + 1",fieldPath=".spec.etcd.version",messageExpression="'the cluster runs etcd ' + self.status.clusterVersion + ', and ' + self.spec.etcd.version + ' is more than one minor version above it: upgrade to the minor version between them first'",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.spec.etcd.version) || !self.spec.etcd.version.startsWith('3.6.') || (has(oldSelf.spec.etcd.version) && self.spec.etcd.version == oldSelf.spec.etcd.version) || !has(self.status) || !has(self.status.members) || self.status.members.all(m, !has(m.version) || !m.version.matches('^3[.]5[.][0-9]+$') || int(m.version.split('.')[2]) >= 26)",fieldPath=".spec.etcd.version",message="every member must run 3.5.26 or newer before 3.6: older ones leave removed members behind that come back in the upgrade; upgrade to the newest 3.5 first",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.spec.quota) || (has(oldSelf.spec.quota) && self.spec.quota == oldSelf.spec.quota) || !has(self.status) || !has(self.status.members) || !self.spec.quota.matches('^[1-9][0-9]{0,6}(Ki|Mi|Gi|Ti)$') || self.status.members.all(m, !has(m.dbSizeBytes) || m.dbSizeBytes < quantity(self.spec.quota).asInteger())",fieldPath=".spec.quota",message="a member's database is larger than this quota, so that etcd would refuse all writes at once: see dbSizeBytes in status.members",reason=FieldValueInvalid
type EtcdCluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What is asked for.
	// +optional
	// +kubebuilder:default={}
	Spec EtcdClusterSpec `json:"spec,omitzero"`
	// What was seen; written by the operator alone.
	// +optional
	Status EtcdClusterStatus `json:"status,omitzero"`
}

// EtcdClusterList is a list of them, of at most one.
//
// +kubebuilder:object:root=true
type EtcdClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []EtcdCluster `json:"items"`
}

// ManagementState says who changes etcd.
//
// +kubebuilder:validation:Enum=Managed;Unmanaged
type ManagementState string

// The management states.
const (
	Managed   ManagementState = "Managed"
	Unmanaged ManagementState = "Unmanaged"
)

// EtcdClusterSpec is what is asked for. Every field has a default that works.
type EtcdClusterSpec struct {
	// Managed: the operator brings etcd to what is asked for here. Unmanaged: it observes and reports, and changes nothing.
	// +optional
	// +kubebuilder:default=Managed
	ManagementState ManagementState `json:"managementState,omitempty"`

	// Which etcd runs.
	// +optional
	// +kubebuilder:default={}
	Etcd EtcdSpec `json:"etcd,omitzero"`

	// Labels of the nodes that are to have a member: a node that has all of them. The operator reports a selector that
	// leaves out a node which holds a member now, and removes nothing for it.
	// +optional
	// +kubebuilder:default={"node-role.kubernetes.io/control-plane": ""}
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="an empty selector would put a member on every node: name a label, e.g. node-role.kubernetes.io/control-plane: ''"
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// How large the database may become (--quota-backend-bytes). At this size etcd refuses writes. From 64Mi to 64Gi; above
	// 8Gi etcd itself warns at each start. Must be larger than the database is. Unset: what runs now stays; without the flag
	// etcd's own is 2Gi, and 8Gi is what most clusters should have.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Ki|Mi|Gi|Ti)$') && quantity(self).compareTo(quantity('64Mi')) >= 0 && quantity(self).compareTo(quantity('64Gi')) <= 0",message="the quota must be a size from 64Mi to 64Gi, e.g. 8Gi"
	Quota Size `json:"quota,omitempty"`

	// Heartbeat and election time-out. Unset: what runs now stays.
	// +optional
	Timing TimingSpec `json:"timing,omitzero"`

	// How long certificates last.
	// +optional
	// +kubebuilder:default={leafLifetime: "8760h", caLifetime: "87600h"}
	TLS TLSSpec `json:"tls,omitzero"`

	// What each kube-apiserver is given as its etcd (--etcd-servers).
	// +optional
	APIServers APIServersSpec `json:"apiServers,omitzero"`

	// Any new text here rolls every member out anew, one at a time, e.g. "new kernel, 2026-11-26".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ForceRedeploymentReason string `json:"forceRedeploymentReason,omitempty"`

	// How long a node must be gone, or declared lost, before its member is removed; from 30s to 24h. A node that merely does
	// not answer is waited for, and no member is ever removed while the rest would be below quorum.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('30s') && duration(self) <= duration('24h')",message="must be a duration from 30s to 24h, e.g. 5m"
	UnhealthyTimeout metav1.Duration `json:"unhealthyTimeout,omitzero"`

	// When the space that deleted keys left is given back.
	// +optional
	// +kubebuilder:default={}
	Defragmentation DefragmentationSpec `json:"defragmentation,omitzero"`

	// How often the members' data is compared by its hash; from 5m to 168h.
	// +optional
	// +kubebuilder:default="4h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('5m') && duration(self) <= duration('168h')",message="must be a duration from 5m to 168h, e.g. 4h"
	HashCheckInterval metav1.Duration `json:"hashCheckInterval,omitzero"`

	// Where backups go and what they hold. When they are made is in an EtcdBackupSchedule.
	// +optional
	// +kubebuilder:default={location: "file:///var/lib/etcd-backup", resources: true}
	Backup BackupSpec `json:"backup,omitzero"`
}

// EtcdSpec says which etcd runs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.image) || has(self.version)",fieldPath=".version",message="an image needs the version that is in it: set version too, e.g. 3.7.3",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="!has(self.image) || !has(self.version) || self.image.matches(':v?' + self.version.replace('.', '[.]') + '(-[A-Za-z0-9._-]+)?$')",fieldPath=".image",messageExpression="'the image has another tag than the version ' + self.version + ': give both or neither, e.g. registry.k8s.io/etcd:' + self.version + '-0'"
type EtcdSpec struct {
	// Version of etcd, e.g. 3.7.3; of the minor versions 3.5, 3.6 and 3.7. Unset: what runs now stays. One minor version can
	// be gone up at a time, and none down.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)$')",message="write the version with three numbers and without a v, e.g. 3.7.3"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0-9]+[.][0-9]+[.][0-9]+$') || self.matches('^3[.][567][.]')",message="only etcd 3.5, 3.6 and 3.7 are supported"
	Version string `json:"version,omitempty"`

	// Image with its tag. Unset: registry.k8s.io/etcd:VERSION-0. No digest: kubeadm reads etcd's version from the tag.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$')",message="write the image with a tag and without a digest, e.g. registry.k8s.io/etcd:3.7.3-0: kubeadm reads etcd's version from the tag"
	Image string `json:"image,omitempty"`
}

// TimingProfile is a pair of heartbeat and election time-out.
//
// +kubebuilder:validation:Enum=Standard;Slow;Custom
type TimingProfile string

// The timing profiles.
const (
	TimingStandard TimingProfile = "Standard"
	TimingSlow     TimingProfile = "Slow"
	TimingCustom   TimingProfile = "Custom"
)

// Milliseconds of the profiles that are not Custom.
const (
	StandardHeartbeat = 100
	StandardElection  = 1000
	SlowHeartbeat     = 500
	SlowElection      = 5000
)

// TimingSpec is how fast a dead leader is noticed, against how easily a slow one is deposed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.profile) || self.profile != 'Custom' || (has(self.heartbeatMilliseconds) && has(self.electionMilliseconds))",message="the profile Custom needs heartbeatMilliseconds and electionMilliseconds",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="(has(self.profile) && self.profile == 'Custom') || (!has(self.heartbeatMilliseconds) && !has(self.electionMilliseconds))",message="heartbeatMilliseconds and electionMilliseconds go with the profile Custom alone: set profile: Custom, or leave them out",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.heartbeatMilliseconds) || !has(self.electionMilliseconds) || self.electionMilliseconds >= 5 * self.heartbeatMilliseconds",fieldPath=".electionMilliseconds",message="the election time-out must be at least five times the heartbeat, or etcd does not start"
type TimingSpec struct {
	// Standard: 100 ms and 1 s. Slow, for members far apart or on slow disks: 500 ms and 5 s. Custom: as given below. Unset:
	// what runs now stays.
	// +optional
	Profile TimingProfile `json:"profile,omitempty"`
	// Heartbeat in milliseconds, from 10 to 10000.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=10000
	HeartbeatMilliseconds int32 `json:"heartbeatMilliseconds,omitempty"`
	// Election time-out in milliseconds, from 50 to 50000, and at least five heartbeats.
	// +optional
	// +kubebuilder:validation:Minimum=50
	// +kubebuilder:validation:Maximum=50000
	ElectionMilliseconds int32 `json:"electionMilliseconds,omitempty"`
}

// TLSSpec is how long certificates last. They are renewed at two thirds of it.
//
// +kubebuilder:validation:XValidation:rule="!self.caLifetime.matches('^([0-9]+(h|m|s))+$') || !self.leafLifetime.matches('^([0-9]+(h|m|s))+$') || duration(self.caLifetime) >= duration(self.leafLifetime) + duration(self.leafLifetime)",fieldPath=".caLifetime",message="the CA must last at least twice as long as what it signs"
type TLSSpec struct {
	// Of the certificates of servers, peers and clients; from 10m to 87600h (ten years).
	// +optional
	// +kubebuilder:default="8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('10m') && duration(self) <= duration('87600h')",message="must be a duration from 10m to 87600h, e.g. 8760h (a year)"
	LeafLifetime metav1.Duration `json:"leafLifetime,omitzero"`
	// Of the CA; from 1h to 262800h (thirty years), and at least twice leafLifetime.
	// +optional
	// +kubebuilder:default="87600h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1h') && duration(self) <= duration('262800h')",message="must be a duration from 1h to 262800h, e.g. 87600h (ten years)"
	CALifetime metav1.Duration `json:"caLifetime,omitzero"`
	// Any new text here makes a new CA and moves every certificate over to it, the bundle first. It is what
	// `ceo certs rotate-ca` writes.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	CARotationReason string `json:"caRotationReason,omitempty"`
}

// APIServersSpec is about --etcd-servers of each kube-apiserver: its own node's member is always the first.
type APIServersSpec struct {
	// How many voters of other nodes it has besides. 0, as with kubeadm: an API server lives and dies with the etcd beside
	// it. With 2 it outlives that; but it asks all of its list in turn, whatever the order, so that one member that stands
	// still is felt by every API server. Less than there are takes none away. Changing it restarts each kube-apiserver, one
	// at a time.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	OtherMembers int32 `json:"otherMembers,omitempty"`
}

// DefragmentationMode says whether it is done at all.
//
// +kubebuilder:validation:Enum=Automatic;Disabled
type DefragmentationMode string

// The defragmentation modes.
const (
	DefragmentationAutomatic DefragmentationMode = "Automatic"
	DefragmentationDisabled  DefragmentationMode = "Disabled"
)

// DefragmentationSpec says when a member is defragmented: one at a time, the leader last, and only with all healthy. A
// NOSPACE alarm is dealt with in any case.
type DefragmentationSpec struct {
	// Automatic or Disabled.
	// +optional
	// +kubebuilder:default=Automatic
	Mode DefragmentationMode `json:"mode,omitempty"`
	// How much of the file must be unused, in percent, from 5 to 95.
	// +optional
	// +kubebuilder:default=45
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=95
	FragmentationPercent int32 `json:"fragmentationPercent,omitempty"`
	// Smaller files are left alone; from 1Mi to 64Gi.
	// +optional
	// +kubebuilder:default="100Mi"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Ki|Mi|Gi|Ti)$') && quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('64Gi')) <= 0",message="must be a size from 1Mi to 64Gi, e.g. 100Mi"
	MinSize Size `json:"minSize,omitempty"`
}

// BackupSpec says where backups go and what they hold. Credentials are not in the API: they lie in backup.yaml on each
// control-plane node, root's alone, so that they can be read in the disaster (P29).
//
// +kubebuilder:validation:XValidation:rule="!self.location.matches('^[a-z0-9]+://[^/?]*@')",fieldPath=".location",message="there are credentials in the location: they belong in backup.yaml on the nodes, where nobody but root reads them",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="self.location.startsWith('file://') || !self.resources || (has(self.recipients) && size(self.recipients) > 0)",fieldPath=".recipients",message="this location is not on the nodes, and the backup would hold the CA's keys for anybody to read there: name an age public key in recipients, or set resources: false",reason=FieldValueRequired
type BackupSpec struct {
	// URL of the store: file:///path (on each node), s3://bucket/prefix?region=…&endpoint=https://host:port,
	// gs://bucket/prefix, azblob://container/prefix.
	// +optional
	// +kubebuilder:default="file:///var/lib/etcd-backup"
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(file|s3|gs|azblob)://')",message="write file:///path, s3://bucket/prefix?region=…&endpoint=https://host:port, gs://bucket/prefix or azblob://container/prefix"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('file://') || (self.matches('^file:///[^/?#][^?#]*$') && !self.matches('/[.][.](/|$)'))",message="a folder is written file:///absolute/path, with three slashes, without .. and without parameters"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(s3|gs|azblob)://') || (self.matches('^[a-z0-9]+://[^/?#]+') && !self.contains('#'))",message="name the bucket after the two slashes, and write %23 for a # in a name"
	Location string `json:"location,omitempty"`
	// age public keys (age1…). With any, everything but the manifest is encrypted to all of them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=62
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.matches('^age1[02-9ac-hj-np-z]{58}$'))",message="each recipient must be an age public key, age1 and 58 characters; `ceo backup key` makes one"
	Recipients []string `json:"recipients,omitempty"`
	// The control plane's static files too: manifests, certificates and keys, encryption configuration.
	// +optional
	// +kubebuilder:default=true
	Resources *bool `json:"resources,omitempty"`
}
