package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EtcdBackupSchedule makes backups by the clock, proves some of them, and thins them out. With several schedules a backup
// stays that the retention of any of them keeps. The newest good one and the newest proven one always stay (I18).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=ceo
// +kubebuilder:printcolumn:name="Schedule",type=string,JSONPath=`.spec.schedule`
// +kubebuilder:printcolumn:name="Suspend",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Up-To-Date",type=string,JSONPath=`.status.conditions[?(@.type=="UpToDate")].status`,description="The last backup that was due was made"
// +kubebuilder:printcolumn:name="Proven",type=string,JSONPath=`.status.conditions[?(@.type=="Proven")].status`,description="The newest proof is young enough"
// +kubebuilder:printcolumn:name="Last-Success",type=date,JSONPath=`.status.lastSuccess.time`
// +kubebuilder:printcolumn:name="Last-Proven",type=date,JSONPath=`.status.lastProven.provenTime`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="UpToDate")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Failures",type=integer,priority=1,JSONPath=`.status.consecutiveFailures`,description="Since the last success"
// +kubebuilder:printcolumn:name="Next",type=string,priority=1,JSONPath=`.status.nextTime`
type EtcdBackupSchedule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What is asked for.
	// +required
	Spec EtcdBackupScheduleSpec `json:"spec"`
	// How it goes; written by the operator alone.
	// +optional
	Status EtcdBackupScheduleStatus `json:"status,omitzero"`
}

// EtcdBackupScheduleList is a list of them.
//
// +kubebuilder:object:root=true
type EtcdBackupScheduleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []EtcdBackupSchedule `json:"items"`
}

// EtcdBackupScheduleSpec says when, and what stays.
type EtcdBackupScheduleSpec struct {
	// When, in UTC: minute, hour, day of the month, month, day of the week (0 is Sunday; JAN-DEC and SUN-SAT are names),
	// each *, numbers, ranges, lists and steps, e.g. */30 * * * *; or @hourly, @daily, @weekly, @monthly.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.startsWith('@') ? self in ['@hourly', '@daily', '@weekly', '@monthly'] : self.matches('^[^ ]+( [^ ]+){4}$')",message="write five fields with one space between them (minute, hour, day of the month, month, day of the week), e.g. */30 * * * *, or @hourly, @daily, @weekly or @monthly; the time is UTC"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ @][^ ]*( [^ ]+){4}$') || self.split(' ')[0].matches('^([*]|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?(,([*]|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?)*$')",message="the first field is the minute: *, or numbers from 0 to 59, as in 5, 0-29, */15 or 0,30"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ @][^ ]*( [^ ]+){4}$') || self.split(' ')[1].matches('^([*]|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?(,([*]|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)*$')",message="the second field is the hour: *, or numbers from 0 to 23, as in 3, 8-18, */6 or 0,12"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ @][^ ]*( [^ ]+){4}$') || self.split(' ')[2].matches('^([*]|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?(,([*]|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)*$')",message="the third field is the day of the month: *, or numbers from 1 to 31, as in 1, 1-7, */2 or 1,15"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ @][^ ]*( [^ ]+){4}$') || self.split(' ')[3].matches('^([*]|(0?[1-9]|1[0-2])(-(0?[1-9]|1[0-2]))?|(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)(-(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))?)(/[1-9][0-9]?)?(,([*]|(0?[1-9]|1[0-2])(-(0?[1-9]|1[0-2]))?|(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)(-(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))?)(/[1-9][0-9]?)?)*$')",message="the fourth field is the month: *, numbers from 1 to 12, or JAN to DEC"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ @][^ ]*( [^ ]+){4}$') || self.split(' ')[4].matches('^([*]|[0-6](-[0-6])?|(SUN|MON|TUE|WED|THU|FRI|SAT)(-(SUN|MON|TUE|WED|THU|FRI|SAT))?)(/[1-9][0-9]?)?(,([*]|[0-6](-[0-6])?|(SUN|MON|TUE|WED|THU|FRI|SAT)(-(SUN|MON|TUE|WED|THU|FRI|SAT))?)(/[1-9][0-9]?)?)*$')",message="the fifth field is the day of the week: *, numbers from 0 (Sunday) to 6, or SUN to SAT"
	// +kubebuilder:validation:XValidation:rule="self.findAll('[0-9]{1,2}-[0-9]{1,2}').all(r, int(r.split('-')[0]) <= int(r.split('-')[1]))",message="a range runs from the smaller number to the larger one: write 22-23,0-4 for 22-4"
	// +kubebuilder:validation:XValidation:rule="self.findAll('[A-Z]{3}-[A-Z]{3}').all(r, 'SUN MON TUE WED THU FRI SAT JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'.indexOf(r.split('-')[0]) <= 'SUN MON TUE WED THU FRI SAT JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'.indexOf(r.split('-')[1]))",message="a range runs from the earlier name to the later one, and a week from SUN to SAT: write FRI,SAT,SUN for FRI-SUN"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ ]+ [^ ]+ (30|31) (0?2|FEB) [*]$') && !self.matches('^[^ ]+ [^ ]+ 31 (0?[469]|11|APR|JUN|SEP|NOV) [*]$')",message="that month never has this day, so that no backup would ever be made"
	Schedule string `json:"schedule"`
	// No new backups while it is true; those that are there stay.
	// +optional
	// +kubebuilder:default=false
	Suspend *bool `json:"suspend,omitempty"`
	// Which backups are restored for a test.
	// +optional
	// +kubebuilder:default={policy: Weekly}
	Prove ProveSpec `json:"prove,omitzero"`
	// Which backups stay, when a new one was made. Unset: the last 24, the newest of 7 days and of 4 weeks.
	// +optional
	// +kubebuilder:default={last: 24, daily: 7, weekly: 4}
	Retention RetentionSpec `json:"retention,omitzero"`
	// How many EtcdBackup objects of this schedule stay to be looked at, from 1 to 100. The backups themselves stay by
	// retention.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	HistoryLimit int32 `json:"historyLimit,omitempty"`
}

// ProvePolicy says which backups are proven.
//
// +kubebuilder:validation:Enum=Weekly;EveryNth;Never
type ProvePolicy string

// The policies. Weekly: the first backup that is made a week or more after the last proof.
const (
	ProveWeekly   ProvePolicy = "Weekly"
	ProveEveryNth ProvePolicy = "EveryNth"
	ProveNever    ProvePolicy = "Never"
)

// ProveSpec says which backups are restored for a test.
//
// +kubebuilder:validation:XValidation:rule="(self.policy == 'EveryNth') == has(self.every)",fieldPath=".every",message="every goes with policy: EveryNth, and that policy needs it: every: 1 proves each backup"
type ProveSpec struct {
	// Weekly, EveryNth or Never.
	// +optional
	// +kubebuilder:default=Weekly
	Policy ProvePolicy `json:"policy,omitempty"`
	// Every which backup is proven, from 1 to 1000; with EveryNth.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Every int32 `json:"every,omitempty"`
}

// RetentionSpec says what stays: a backup that any rule keeps. The newest good one and the newest proven one stay always.
//
// +kubebuilder:validation:XValidation:rule="has(self.last) || has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) || has(self.maxAge) || has(self.maxSize)",message="a retention without a rule keeps every backup until the disk is full: give at least one, e.g. last: 24"
type RetentionSpec struct {
	// The newest so many.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Last int32 `json:"last,omitempty"`
	// The newest of each of so many hours that have one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Hourly int32 `json:"hourly,omitempty"`
	// The newest of each of so many days that have one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Daily int32 `json:"daily,omitempty"`
	// The newest of each of so many weeks that have one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Weekly int32 `json:"weekly,omitempty"`
	// The newest of each of so many months that have one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Monthly int32 `json:"monthly,omitempty"`
	// Takes away what is older, whatever the rules above keep; at least 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1h')",message="must be a duration of at least 1h, e.g. 720h (30 days)"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
	// Takes away the oldest until all that stays is no larger, in the store; at least 1Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Ki|Mi|Gi|Ti)$') && quantity(self).compareTo(quantity('1Mi')) >= 0",message="must be a size of at least 1Mi, e.g. 50Gi"
	MaxSize Size `json:"maxSize,omitempty"`
}

// EtcdBackupScheduleStatus is how it goes.
type EtcdBackupScheduleStatus struct {
	// The generation of the spec that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// UpToDate, Proven, Pruned.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The newest backup of this schedule that was made, read back and verified.
	// +optional
	LastSuccess *BackupReference `json:"lastSuccess,omitempty"`
	// The newest of them that was proven.
	// +optional
	LastProven *BackupReference `json:"lastProven,omitempty"`
	// When the last one was due.
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// When the next one is due.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// The EtcdBackup that runs.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Active string `json:"active,omitempty"`
	// The EtcdBackup that is to be created for the last time that was due: it is written down first, so that two operators
	// or one that dies create no second one.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Claimed string `json:"claimed,omitempty"`
	// The EtcdBackup after which the retention is still to be applied, on the node that made it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PruneAfter string `json:"pruneAfter,omitempty"`
	// Failures since the last success.
	// +optional
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`
	// Backups since the last proof.
	// +optional
	SinceProof int32 `json:"sinceProof,omitempty"`
}
