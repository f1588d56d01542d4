//go:build integration

package v1alpha1_test

import (
	"strings"
	"testing"
)

// specs that a person can write for an object that is whole otherwise.
const (
	anyCluster  = `{}`
	rollback    = `{type: Rollback, rollback: {backup: 20261124t140209z-4f1c}}`
	consented   = `{type: Rollback, rollback: {backup: 20261124t140209z-4f1c, consent: ` + consentText + `}}`
	consentText = `{clusterID: 8e9e05c5, backupDigest: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, acceptRisks: [rollback]}`
	recipient   = `age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq`
)

func (a *api) accepted(t *testing.T) {
	for _, c := range []struct{ kind, spec string }{
		{"EtcdCluster", anyCluster},
		{"EtcdCluster", `{managementState: Unmanaged}`},
		{"EtcdCluster", `{etcd: {version: 3.5.26}}`},
		{"EtcdCluster", `{etcd: {version: 3.6.6, image: "registry.k8s.io/etcd:3.6.6-0"}}`},
		{"EtcdCluster", `{etcd: {version: 3.6.6, image: "quay.io:443/coreos/etcd:v3.6.6"}}`},
		{"EtcdCluster", `{etcd: {version: 3.7.0, image: "etcd:3.7.0"}}`},
		{"EtcdCluster", `{quota: 64Mi}`},
		{"EtcdCluster", `{quota: 64Gi}`},
		{"EtcdCluster", `{quota: 2097152Ki}`},
		{"EtcdCluster", `{timing: {profile: Slow}}`},
		{"EtcdCluster", `{timing: {profile: Custom, heartbeatMilliseconds: 100, electionMilliseconds: 500}}`},
		{"EtcdCluster", `{tls: {leafLifetime: 10m, caLifetime: 1h}}`},
		{"EtcdCluster", `{tls: {leafLifetime: 1h30m0s}}`},
		{"EtcdCluster", `{unhealthyTimeout: 5m0s}`},
		{"EtcdCluster", `{defragmentation: {mode: Disabled}}`},
		{"EtcdCluster", `{nodeSelector: {etcd: "yes"}}`},
		{"EtcdCluster", `{backup: {location: "file:///srv/backups"}}`},
		{"EtcdCluster", `{backup: {location: "file:///srv/a..b"}}`},
		{"EtcdCluster", `{backup: {location: "s3://dr/prod?region=x&endpoint=https://h:9000", resources: false}}`},
		{"EtcdCluster", `{backup: {location: "gs://dr", recipients: [` + recipient + `]}}`},
		{"EtcdCluster", `{backup: {location: "azblob://dr/a@b", resources: false}}`},
		{"EtcdBackup", `{}`},
		{"EtcdBackup", `{prove: true, node: cp-1.example.com}`},
		{"EtcdBackupSchedule", `{schedule: "@hourly"}`},
		{"EtcdBackupSchedule", `{schedule: "0 3 * * *"}`},
		{"EtcdBackupSchedule", `{schedule: "5,35 */6 1-7,15 JAN-MAR,12 MON-FRI"}`},
		{"EtcdBackupSchedule", `{schedule: "0-29/5 22-23,0-4 31 1,3,5 6"}`},
		{"EtcdBackupSchedule", `{schedule: "0 0 * OCT-DEC/2 SUN-SAT"}`},
		{"EtcdBackupSchedule", `{schedule: "0 0 31 2 1"}`}, // Mondays in February
		{"EtcdBackupSchedule", `{schedule: "0 0 29 2 *"}`}, // in leap years
		{"EtcdBackupSchedule", `{schedule: "* * * * *", suspend: true, prove: {policy: Never}, retention: {maxAge: 720h}}`},
		{"EtcdBackupSchedule", `{schedule: "@daily", retention: {maxSize: 50Gi}, historyLimit: 1}`},
		{"EtcdRecovery", rollback},
		{"EtcdRecovery", `{type: Record, record: {recoveryID: r-1}}`},
	} {
		if _, err := a.try(t, object(t, c.kind, "cluster", c.spec)); err != nil {
			t.Errorf("%s %s: %v", c.kind, c.spec, err)
		}
	}
}

// refused: every row is refused, with the words that a person needs; the part in want may be shortened.
func (a *api) refused(t *testing.T) {
	for _, c := range []struct{ kind, name, spec, want string }{
		{"EtcdCluster", "prod", anyCluster, "the name must be cluster"},
		{"EtcdCluster", "", `{managementState: Off}`, `supported values: "Managed", "Unmanaged"`},
		{"EtcdCluster", "", `{etcd: {version: v3.7.3}}`, "write the version with three numbers and without a v"},
		{"EtcdCluster", "", `{etcd: {version: "3.7"}}`, "write the version with three numbers"},
		{"EtcdCluster", "", `{etcd: {version: 3.07.3}}`, "write the version with three numbers"},
		{"EtcdCluster", "", `{etcd: {version: 3.4.33}}`, "only etcd 3.5, 3.6 and 3.7 are supported"},
		{"EtcdCluster", "", `{etcd: {version: 3.8.0}}`, "only etcd 3.5, 3.6 and 3.7 are supported"},
		{"EtcdCluster", "", `{etcd: {version: 4.5.0}}`, "only etcd 3.5, 3.6 and 3.7 are supported"},
		{"EtcdCluster", "", `{etcd: {image: "registry.k8s.io/etcd:3.7.3-0"}}`, "an image needs the version that is in it"},
		{"EtcdCluster", "", `{etcd: {version: 3.7.3, image: "registry.k8s.io/etcd:3.7.2-0"}}`, "the image has another tag than the version 3.7.3: give both or neither, e.g. registry.k8s.io/etcd:3.7.3-0"},
		{"EtcdCluster", "", `{etcd: {version: 3.7.3, image: "registry.k8s.io/etcd:3.7.30"}}`, "the image has another tag"},
		{"EtcdCluster", "", `{etcd: {version: 3.7.3, image: registry.k8s.io/etcd}}`, "write the image with a tag"},
		{"EtcdCluster", "", `{etcd: {version: 3.7.3, image: "registry.k8s.io/etcd@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}`, "without a digest"},
		{"EtcdCluster", "", `{nodeSelector: {}}`, "an empty selector would put a member on every node"},
		{"EtcdCluster", "", `{quota: 63Mi}`, "the quota must be a size from 64Mi to 64Gi"},
		{"EtcdCluster", "", `{quota: "8"}`, "the quota must be a size from 64Mi to 64Gi"},
		{"EtcdCluster", "", `{quota: 8Ti}`, "the quota must be a size from 64Mi to 64Gi"},
		{"EtcdCluster", "", `{quota: -8Gi}`, "the quota must be a size from 64Mi to 64Gi"},
		{"EtcdCluster", "", `{quota: 8GB}`, "the quota must be a size from 64Mi to 64Gi"},
		{"EtcdCluster", "", `{timing: {profile: Fast}}`, `supported values: "Standard", "Slow", "Custom"`},
		{"EtcdCluster", "", `{timing: {profile: Custom}}`, "Custom needs heartbeatMilliseconds and electionMilliseconds"},
		{"EtcdCluster", "", `{timing: {profile: Custom, heartbeatMilliseconds: 100}}`, "Custom needs heartbeatMilliseconds and electionMilliseconds"},
		{"EtcdCluster", "", `{timing: {heartbeatMilliseconds: 100, electionMilliseconds: 1000}}`, "go with the profile Custom alone"},
		{"EtcdCluster", "", `{timing: {profile: Custom, heartbeatMilliseconds: 100, electionMilliseconds: 499}}`, "at least five times the heartbeat"},
		{"EtcdCluster", "", `{timing: {profile: Custom, heartbeatMilliseconds: 100, electionMilliseconds: 50001}}`, "less than or equal to 50000"},
		{"EtcdCluster", "", `{tls: {leafLifetime: 9m}}`, "must be a duration from 10m to 87600h"},
		{"EtcdCluster", "", `{tls: {leafLifetime: 1y}}`, "must be a duration from 10m to 87600h"},
		{"EtcdCluster", "", `{tls: {leafLifetime: 10m, caLifetime: 59m}}`, "must be a duration from 1h to 262800h"},
		{"EtcdCluster", "", `{tls: {leafLifetime: 1h, caLifetime: 119m}}`, "the CA must last at least twice as long as what it signs"},
		{"EtcdCluster", "", `{unhealthyTimeout: 29s}`, "must be a duration from 30s to 24h"},
		{"EtcdCluster", "", `{unhealthyTimeout: 25h}`, "must be a duration from 30s to 24h"},
		{"EtcdCluster", "", `{unhealthyTimeout: "300"}`, "must be a duration from 30s to 24h"},
		{"EtcdCluster", "", `{unhealthyTimeout: -5m}`, "must be a duration from 30s to 24h"},
		{"EtcdCluster", "", `{defragmentation: {mode: Always}}`, `supported values: "Automatic", "Disabled"`},
		{"EtcdCluster", "", `{defragmentation: {fragmentationPercent: 96}}`, "less than or equal to 95"},
		{"EtcdCluster", "", `{defragmentation: {minSize: 65Gi}}`, "must be a size from 1Mi to 64Gi"},
		{"EtcdCluster", "", `{hashCheckInterval: 1m}`, "must be a duration from 5m to 168h"},
		{"EtcdCluster", "", `{backup: {location: /var/lib/etcd-backup}}`, "write file:///path, s3://"},
		{"EtcdCluster", "", `{backup: {location: "mem://x"}}`, "write file:///path, s3://"},
		{"EtcdCluster", "", `{backup: {location: "file://srv/backups"}}`, "with three slashes"},
		{"EtcdCluster", "", `{backup: {location: "file:///"}}`, "a folder is written file:///absolute/path"},
		{"EtcdCluster", "", `{backup: {location: "file:////"}}`, "a folder is written file:///absolute/path"},
		{"EtcdCluster", "", `{backup: {location: "file:///srv/../etc"}}`, "without .. and without parameters"},
		{"EtcdCluster", "", `{backup: {location: "file:///.."}}`, "without .. and without parameters"},
		{"EtcdCluster", "", `{backup: {location: "file:///srv?x=y"}}`, "without parameters"},
		{"EtcdCluster", "", `{backup: {location: "s3:///prod", resources: false}}`, "name the bucket after the two slashes"},
		{"EtcdCluster", "", `{backup: {location: "s3://dr/a#b", resources: false}}`, "write %23 for a #"},
		{"EtcdCluster", "", `{backup: {location: "s3://key:secretword@dr/prod", resources: false}}`, "there are credentials in the location"},
		{"EtcdCluster", "", `{backup: {location: "s3://dr/prod"}}`, "name an age public key in recipients, or set resources: false"},
		{"EtcdCluster", "", `{backup: {location: "s3://dr/prod", recipients: []}}`, "name an age public key in recipients"},
		{"EtcdCluster", "", `{backup: {recipients: [ssh-ed25519]}}`, "each recipient must be an age public key"},
		{"EtcdBackup", "b", `{node: Cp_1}`, "must be the name of a node"},
		{"EtcdBackupSchedule", "s", `{}`, "spec.schedule: Required value"},
		{"EtcdBackupSchedule", "s", `{schedule: ""}`, "write five fields"},
		{"EtcdBackupSchedule", "s", `{schedule: "@every 1h"}`, "or @hourly, @daily, @weekly or @monthly"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 * * * *"}`, "write five fields"},
		{"EtcdBackupSchedule", "s", `{schedule: "CRON_TZ=Europe/Berlin 0 0 * * *"}`, "write five fields"},
		{"EtcdBackupSchedule", "s", `{schedule: "0  3 * * *"}`, "with one space between them"},
		{"EtcdBackupSchedule", "s", `{schedule: "60 * * * *"}`, "the first field is the minute"},
		{"EtcdBackupSchedule", "s", `{schedule: "*/0 * * * *"}`, "the first field is the minute"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 24 * * *"}`, "the second field is the hour"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 3, * * *"}`, "the second field is the hour"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 0 * *"}`, "the third field is the day of the month"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 L * *"}`, "the third field is the day of the month"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 1 13 *"}`, "the fourth field is the month"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 1 MAI *"}`, "the fourth field is the month"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 * * 1-FRI"}`, "the fifth field is the day of the week"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 1 DEC-2 *"}`, "the fourth field is the month"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 * * FRI-SUN"}`, "a range runs from the earlier name to the later one"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 1 OCT-MAR *"}`, "a range runs from the earlier name to the later one"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 * * 7"}`, "the fifth field is the day of the week"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 * * Monday"}`, "the fifth field is the day of the week"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 22-4 * * *"}`, "a range runs from the smaller number to the larger one"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 1,9-8/2 * *"}`, "a range runs from the smaller number to the larger one"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 30 FEB *"}`, "that month never has this day"},
		{"EtcdBackupSchedule", "s", `{schedule: "0 0 31 11 *"}`, "that month never has this day"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", prove: {policy: EveryNth}}`, "every goes with policy: EveryNth"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", prove: {every: 5}}`, "every goes with policy: EveryNth"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", prove: {policy: EveryNth, every: 0}}`, "greater than or equal to 1"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", retention: {}}`, "keeps every backup until the disk is full"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", retention: {last: -1}}`, "greater than or equal to 1"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", retention: {maxAge: 30d}}`, "must be a duration of at least 1h"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", retention: {maxSize: "50"}}`, "must be a size of at least 1Mi"},
		{"EtcdBackupSchedule", "s", `{schedule: "@daily", historyLimit: 101}`, "less than or equal to 100"},
		{"EtcdRecovery", "r", `{type: Rollback}`, "type: Rollback goes with rollback alone"},
		{"EtcdRecovery", "r", `{type: Record, rollback: {backup: 20261124t140209z-4f1c}}`, "type: Record with record alone"},
		{"EtcdRecovery", "r", `{type: Rollback, rollback: {backup: 20261124t140209z-4f1c}, record: {recoveryID: r}}`, "goes with rollback alone"},
		{"EtcdRecovery", "r", `{type: Rollback, rollback: {backup: latest}}`, "must be a backup's whole name"},
		{"EtcdRecovery", "r", `{type: Rollback, rollback: {backup: 20261124t140209z-4f1c, node: -x}}`, "must be the name of a node"},
		{"EtcdRecovery", "r", consented, "a consent is to a plan that was shown: create the EtcdRecovery without it, read status.plan, then add it"},
		{"EtcdRecovery", "r", strings.Replace(consented, "8e9e05c5", "8E9E", 1), "must be the cluster id in hexadecimal"},
		{"EtcdRecovery", "r", strings.Replace(consented, "9f86", "9f", 1), "must be the backup's digest, 64 hexadecimal digits"},
		{"EtcdRecovery", "r", strings.Replace(consented, "[rollback]", "[]", 1), "accept that by its name, acceptRisks: [rollback]"},
		{"EtcdRecovery", "r", strings.Replace(consented, "[rollback]", "[take-over]", 1), "accept that by its name"},
		{"EtcdRecovery", "r", strings.Replace(consented, "[rollback]", "[rollback, rolback]", 1), "Unsupported value"},
		{"EtcdRecovery", "r", strings.Replace(consented, ", acceptRisks: [rollback]", "", 1), "acceptRisks: Required value"},
		{"EtcdRecovery", "r", `{type: Record, record: {recoveryID: ""}}`, "recoveryID"},
		{"EtcdCluster", "", `{qouta: 8Gi}`, `unknown field "spec.qouta"`},
	} {
		if c.name == "" {
			c.name = "cluster"
		}
		_, err := a.try(t, object(t, c.kind, c.name, c.spec))
		a.wantRefused(t, c.kind+" "+c.spec, err, c.want)
	}
}

// wantRefused keeps the text for everyRule.
func (a *api) wantRefused(t testing.TB, what string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted; should be refused with %q", what, want)
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%s: refused with\n  %v\nwithout the words\n  %s", what, err, want)
	}
	if strings.Contains(err.Error(), "secretword") {
		t.Errorf("%s: the refusal shows the credentials: %v", what, err)
	}
	if strings.Contains(err.Error(), "no such") || strings.Contains(err.Error(), "evaluation error") || strings.Contains(err.Error(), "rule runtime error") {
		t.Errorf("%s: a rule broke instead of answering: %v", what, err)
	}
	a.errors = append(a.errors, err.Error())
}
