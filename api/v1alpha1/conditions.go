package v1alpha1

// Conditions of an EtcdCluster. Each is Unknown, never False, when it could not be inspected.
const (
	// ConditionAvailable: a quorum serves.
	ConditionAvailable = "Available"
	// ConditionProgressing: the operator is changing something.
	ConditionProgressing = "Progressing"
	// ConditionDegraded: something needs to be mended, by the operator or by a person; the message says by whom.
	ConditionDegraded = "Degraded"
	// ConditionQuorumSafe: any one voter can be lost without losing the quorum.
	ConditionQuorumSafe = "QuorumSafe"
	// ConditionBackupsProven: a backup that is young enough was restored for a test and served.
	ConditionBackupsProven = "BackupsProven"
	// ConditionUpgradeable: an upgrade of etcd or of a node may be begun now.
	ConditionUpgradeable = "Upgradeable"
)

// Conditions of an EtcdBackup and of an EtcdBackupSchedule.
const (
	// ConditionSucceeded: the backup was made, read back from its store and verified. True and False are final.
	ConditionSucceeded = "Succeeded"
	// ConditionProven: it was restored for a test, and an etcd served it. On a schedule: the newest proof is young enough.
	ConditionProven = "Proven"
	// ConditionUpToDate (schedule): the last backup that was due was made.
	ConditionUpToDate = "UpToDate"
	// ConditionPruned (schedule): the retention was applied after the last backup.
	ConditionPruned = "Pruned"
)

// Conditions of an EtcdRecovery.
const (
	// ConditionPlanned: there is a plan in the status, and nothing stands against running it but a person's consent.
	ConditionPlanned = "Planned"
	// ConditionComplete: it is over. Its reason says how it stands: of False WaitingForConsent, Running and others, of True
	// Recovered, and of a recovery that is over without success, Failed, Aborted or Refused.
	ConditionComplete = "Complete"
)

// Reasons that several conditions share.
const (
	ReasonAsExpected = "AsExpected"
	// ReasonNotObserved goes with Unknown: it could not be inspected, and a time-out is not a death (I23).
	ReasonNotObserved = "NotObserved"
	// ReasonUnmanaged: spec.managementState is Unmanaged, so nothing is changed.
	ReasonUnmanaged = "Unmanaged"
	// ReasonRecoveryOpen: a recovery's journal is open on a node, and everything else stands back (P17).
	ReasonRecoveryOpen = "RecoveryOpen"
)

// Reasons of Available and QuorumSafe.
const (
	ReasonQuorumServes  = "QuorumServes"
	ReasonQuorumLost    = "QuorumLost"
	ReasonCanLoseOne    = "CanLoseOne"
	ReasonCannotLoseOne = "CannotLoseOne"
	ReasonSingleMember  = "SingleMember"
)

// Reasons of Progressing.
const (
	ReasonAtRest               = "AtRest"
	ReasonAdding               = "Adding"
	ReasonPromoting            = "Promoting"
	ReasonRemoving             = "Removing"
	ReasonReplacing            = "Replacing"
	ReasonRollingOut           = "RollingOut"
	ReasonUpgrading            = "Upgrading"
	ReasonRotatingCertificates = "RotatingCertificates"
	ReasonRotatingCA           = "RotatingCA"
	ReasonDefragmenting        = "Defragmenting"
	// ReasonChangingEtcdServers: a kube-apiserver is restarted with another --etcd-servers.
	ReasonChangingEtcdServers = "ChangingEtcdServers"
	// ReasonWaiting: there is something to do that must not be done now; the message says for what it waits.
	ReasonWaiting = "Waiting"
)

// Reasons of Degraded: what is wrong with the cluster.
const (
	ReasonMemberUnhealthy     = "MemberUnhealthy"
	ReasonMemberMissing       = "MemberMissing"
	ReasonAgentUnreachable    = "AgentUnreachable"
	ReasonRolloutStopped      = "RolloutStopped"
	ReasonCertificateExpiring = "CertificateExpiring"
	ReasonQuotaNearlyUsed     = "QuotaNearlyUsed"
	ReasonAlarmNoSpace        = "AlarmNoSpace"
	ReasonAlarmCorrupt        = "AlarmCorrupt"
	ReasonHashMismatch        = "HashMismatch"
)

// Reasons of Degraded: a spec that cannot work. Nothing is rolled out.
const (
	ReasonVersionUnknown     = "VersionUnknown"
	ReasonVersionSkew        = "VersionSkew"
	ReasonImageMissing       = "ImageMissing"
	ReasonQuotaBelowDatabase = "QuotaBelowDatabase"
	// ReasonSelectorMismatch: the node selector leaves out control-plane nodes that hold a member, or matches none.
	ReasonSelectorMismatch = "SelectorMismatch"
)

// Reasons of BackupsProven, and of Succeeded, Proven and UpToDate.
const (
	ReasonProven         = "Proven"
	ReasonProofOutdated  = "ProofOutdated"
	ReasonNeverProven    = "NeverProven"
	ReasonProofFailed    = "ProofFailed"
	ReasonNotRequested   = "NotRequested"
	ReasonNoSchedule     = "NoSchedule"
	ReasonBackupVerified = "BackupVerified"
	ReasonBackupFailed   = "BackupFailed"
	ReasonBackupMissed   = "BackupMissed"
	ReasonRunning        = "Running"
	ReasonSuspended      = "Suspended"
	// ReasonClockDiffers: the operator's clock is not that of the nodes, so what is due is not known.
	ReasonClockDiffers    = "ClockDiffers"
	ReasonScheduleInvalid = "ScheduleInvalid"
	ReasonPruned          = "Pruned"
	ReasonPruneFailed     = "PruneFailed"
)

// Reasons of Upgradeable.
const (
	ReasonVersionsDiffer = "VersionsDiffer"
	// ReasonPatchTooOld: etcd 3.5 below 3.5.26 leaves zombie members when it is upgraded to 3.6 (P23).
	ReasonPatchTooOld   = "PatchTooOld"
	ReasonQuorumNotSafe = "QuorumNotSafe"
)

// Reasons of Planned and Complete.
const (
	ReasonPlanReady = "PlanReady"
	// ReasonWaitingForConsent: spec.rollback.consent is not set.
	ReasonWaitingForConsent = "WaitingForConsent"
	// ReasonConsentMismatch: the consent names another cluster id or another backup than the plan (I14).
	ReasonConsentMismatch = "ConsentMismatch"
	// ReasonConsentUsed: the consent was for one run, and that run was (I14).
	ReasonConsentUsed = "ConsentUsed"
	ReasonRefused     = "Refused"
	// ReasonWaitingForNodes: the cluster serves again, and nodes that were dark are still awaited.
	ReasonWaitingForNodes = "WaitingForNodes"
	ReasonRecovered       = "Recovered"
	ReasonFailed          = "Failed"
	ReasonAborted         = "Aborted"
)
