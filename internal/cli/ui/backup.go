package ui

import (
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
)

// BackupList is the catalogue on one screen.
func BackupList(l keep.Listing, s Style) string {
	var b strings.Builder
	good := l.Good()
	fmt.Fprintf(&b, "%s  %s\n", s.bold(l.Store), listSummary(l, s))
	rows := [][]string{{"NAME", "AGE", "REVISION", "SIZE (STORED)", "CLUSTER", "ETCD", "PROVEN"}}
	for _, e := range good {
		m := e.Manifest
		proven := "-"
		if e.Proof != nil {
			proven = fmt.Sprintf("%s ago, restored in %s", age(l.At.Sub(e.Proof.At)), short(e.Proof.RestoreTime))
		}
		rows = append(rows, []string{
			m.ID, age(l.At.Sub(m.StartedAt)), grouped(m.Database.Revision),
			fmt.Sprintf("%s (%s)", Bytes(positive(m.Database.Size)), Bytes(positive(m.StoredSize()))), dash(m.Cluster.Name), dash(m.Cluster.EtcdVersion), proven,
		})
	}
	if len(good) > 0 {
		for _, line := range table(rows) {
			b.WriteString(line + "\n")
		}
	}
	for _, e := range l.Entries {
		if e.Problem != "" {
			fmt.Fprintf(&b, "%s %s: %s\n", s.bad("✗"), e.ID, e.Problem)
		}
	}
	for _, u := range l.Unfinished {
		fmt.Fprintf(&b, "%s %s: no manifest, last written %s ago: being made, or what a killed run left\n", s.warn("·"), u.ID, age(l.At.Sub(u.At)))
	}
	switch {
	case len(good) == 0:
		b.WriteString(labelled("Next:", 6, []string{"ceo backup create"}))
	case l.Proven() == nil:
		b.WriteString(labelled("Next:", 6, []string{"ceo backup prove latest"}))
	}
	return b.String()
}

func listSummary(l keep.Listing, s Style) string {
	good := l.Good()
	if len(good) == 0 {
		if len(l.Entries) > 0 {
			return s.bad(fmt.Sprintf("✗ none of %d %s can be used", len(l.Entries), plural(len(l.Entries), "backup", "backups")))
		}
		return s.bad("✗ no backup")
	}
	out := fmt.Sprintf("%d %s, newest %s old", len(good), plural(len(good), "backup", "backups"), age(l.At.Sub(good[0].Manifest.StartedAt)))
	if p := l.Proven(); p != nil {
		out += fmt.Sprintf(", last proven %s ago", age(l.At.Sub(p.Proof.At)))
	} else {
		out += ", " + s.warn("none proven")
	}
	return out
}

// BackupsOf is the catalogue in the words of status.
func BackupsOf(l keep.Listing) *BackupView {
	v := &BackupView{Store: l.Store}
	good := l.Good()
	v.Count, v.Unusable = len(good), len(l.Entries)-len(good)
	if len(good) > 0 {
		v.Newest, v.Revision = good[0].Manifest.StartedAt, good[0].Manifest.Database.Revision
	}
	if p := l.Proven(); p != nil {
		v.Proven = p.Proof.At
	}
	return v
}

func backupLines(v View, s Style) []string {
	b := v.Backups
	switch {
	case b == nil:
		return nil
	case b.Error != "":
		return []string{s.warn("⚠") + " cannot be listed: " + b.Error}
	case b.Count == 0 && b.Unusable > 0:
		return []string{fmt.Sprintf("%s none of %d in %s can be used: ceo backup list", s.bad("✗"), b.Unusable, b.Store)}
	case b.Count == 0:
		return []string{fmt.Sprintf("%s none in %s: ceo backup create", s.warn("⚠"), b.Store)}
	}
	lines := []string{backupLine(v, s)}
	if b.Unusable > 0 {
		lines = append(lines, fmt.Sprintf("%s %d more cannot be used: ceo backup list", s.warn("⚠"), b.Unusable))
	}
	return lines
}

func backupLine(v View, s Style) string {
	b := v.Backups
	out := fmt.Sprintf("%s %s ago  rev %s  %s", s.good("✔"), age(v.At.Sub(b.Newest)), grouped(b.Revision), b.Store)
	if b.Proven.IsZero() {
		return out + "  " + s.warn("none proven")
	}
	return out + fmt.Sprintf("  proven %s ago", age(v.At.Sub(b.Proven)))
}

// Backup is one backup with all that is known of it; done says what was just done with it.
func Backup(e backup.Entry, store, done string, now time.Time, s Style) string {
	var b strings.Builder
	m := e.Manifest
	const width = 11
	line := func(label, format string, args ...any) {
		b.WriteString(labelled(label, width, []string{fmt.Sprintf(format, args...)}))
	}
	if e.Problem != "" {
		line("Backup", "%s %s: %s", s.bad("✗"), e.ID, e.Problem)
		return b.String()
	}
	if done != "" {
		line("Backup", "%s %s", m.ID, s.good("✔ "+done))
	} else {
		line("Backup", "%s (%s ago)", m.ID, age(now.Sub(m.StartedAt)))
	}
	line("Where", "%s", backup.URL(store, m.ID))
	line("Cluster", "%s, id %s, taken of %s (etcd %s)", dash(m.Cluster.Name), m.Cluster.ClusterID, dash(m.Cluster.Member), dash(m.Cluster.EtcdVersion))
	compacted := "never compacted"
	if m.Database.CompactRevision > 0 {
		compacted = "compacted at " + grouped(m.Database.CompactRevision)
	}
	line("Revision", "%s (%s)", grouped(m.Database.Revision), compacted)
	keys := grouped(m.Database.LiveKeys) + " keys"
	if m.Database.LiveKeys < 0 {
		keys = "keys not counted"
	}
	line("Content", "%s, %s entries, %s leases", keys, grouped(m.Database.TotalKeys), grouped(m.Database.Leases))
	line("Size", "%s, stored as %s", Bytes(positive(m.Database.Size)), Bytes(positive(m.StoredSize())))
	line("SHA-256", "%s", m.Database.SHA256)
	if m.Resources == nil {
		line("Resources", "%s none: the database alone", s.warn("⚠"))
	} else {
		line("Resources", "%d files of the control plane (manifests, PKI, configuration)", len(m.Resources.Files))
	}
	if len(m.Recipients) > 0 {
		line("Encrypted", "to %s", strings.Join(m.Recipients, ", "))
	} else {
		line("Encrypted", "no")
	}
	if m.ReadBack == backup.StoredBytes {
		line("Read back", "%s its stored bytes alone: the node that made it has no key to open it with", s.warn("⚠"))
	}
	if len(m.Cluster.EncryptionKeys) > 0 {
		line("Needs", "the encryption keys %s", strings.Join(m.Cluster.EncryptionKeys, ", "))
	}
	if p := e.Proof; p != nil {
		line("Proven", "%s %s ago with etcd %s: revision %s, hash %08x, restored in %s, served %s after its start", s.good("✔"), age(now.Sub(p.At)),
			p.EtcdVersion, grouped(p.Revision), p.Hash, short(p.RestoreTime), short(p.ServeTime))
	} else {
		line("Proven", "no; `ceo backup prove %s`", m.ID)
	}
	return b.String()
}

// Made says how sure one can be of a backup that was just made.
func Made(m backup.Manifest) string {
	if m.ReadBack == backup.StoredBytes {
		return "verified, stored, and its stored bytes read back"
	}
	return "stored, read back and verified"
}

// Pruned says what stays and what goes, with the reasons.
func Pruned(d backup.Decision, removed bool, s Style) string {
	var b strings.Builder
	word := "would be removed"
	if removed {
		word = "removed"
	}
	for _, k := range d.Keep {
		fmt.Fprintf(&b, "%s %s  kept: %s\n", s.good("✔"), k.ID, k.Reason)
	}
	for _, r := range d.Remove {
		fmt.Fprintf(&b, "%s %s  %s: %s\n", s.warn("✗"), r.ID, word, r.Reason)
	}
	if len(d.Remove) == 0 {
		fmt.Fprintf(&b, "%d kept, nothing to remove\n", len(d.Keep))
		return b.String()
	}
	fmt.Fprintf(&b, "%d kept, %d %s\n", len(d.Keep), len(d.Remove), word)
	if len(d.Remove) > 0 && !removed {
		b.WriteString(labelled("Next:", 6, []string{"ceo backup prune --yes"}))
	}
	return b.String()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// short is a duration as a person reads it.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Transfer is one line on something that moves bytes: how many, how fast, how long still.
func Transfer(what string, done, total int64, took time.Duration) string {
	if done <= 0 {
		return what
	}
	out := fmt.Sprintf("%s: %s", what, Bytes(positive(done)))
	if total > 0 {
		out += " of " + Bytes(positive(total))
	}
	if took < time.Second {
		return out
	}
	rate := float64(done) / took.Seconds()
	out += fmt.Sprintf(", %s/s", Bytes(uint64(rate)))
	if total > done {
		out += fmt.Sprintf(", %s left", short(time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second)))
	}
	return out
}
