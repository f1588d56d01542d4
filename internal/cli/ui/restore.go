package ui

import (
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/backup"
)

// Restored is what `ceo restore` did.
type Restored struct {
	Source  string `json:"source"`
	SHA256  string `json:"sha256"`
	DataDir string `json:"dataDir"`
	WALDir  string `json:"walDir,omitempty"`

	SnapshotRevision int64 `json:"snapshotRevision"`
	Revision         int64 `json:"revision"`
	// Compacted: everything up to Revision is.
	Compacted bool  `json:"compacted"`
	Keys      int64 `json:"keys"` // -1: not counted
	Bytes     int64 `json:"bytes"`

	Name           string   `json:"name"`
	PeerURLs       []string `json:"peerURLs"`
	InitialCluster string   `json:"initialCluster"`
	Token          string   `json:"token"`
	ClusterID      string   `json:"clusterID"` // hexadecimal, as etcdctl prints it
	MemberID       string   `json:"memberID"`

	Seconds float64     `json:"seconds"`
	Parts   []Milestone `json:"parts"` // how long each part of it took
	// EtcdFlags are those of etcd that the restore decided; where it listens and its certificates are not among them.
	EtcdFlags []string `json:"etcdFlags"`
	Next      []string `json:"next"`
	// Warnings are what does not fit this node, if the source is a backup.
	Warnings []string `json:"warnings,omitempty"`
}

// BackupLine says in a line which backup is restored, before its bytes arrive.
func BackupLine(e backup.Entry, url string) string {
	m := e.Manifest
	proven := "not proven"
	if e.Proof != nil {
		proven = "proven " + e.Proof.At.UTC().Format(time.DateTime) + " UTC"
	}
	return fmt.Sprintf("%s of cluster %s, begun %s UTC, revision %s, %s, %s", url, dash(m.Cluster.Name),
		m.StartedAt.UTC().Format(time.DateTime), grouped(m.Database.Revision), Bytes(positive(m.Database.Size)), proven)
}

// Decide fills in EtcdFlags and Next.
func (r Restored) Decide() Restored {
	r.EtcdFlags = []string{"--name=" + r.Name, "--data-dir=" + r.DataDir}
	if r.WALDir != "" {
		r.EtcdFlags = append(r.EtcdFlags, "--wal-dir="+r.WALDir)
	}
	r.EtcdFlags = append(r.EtcdFlags,
		"--initial-advertise-peer-urls="+strings.Join(r.PeerURLs, ","),
		"--initial-cluster="+r.InitialCluster, "--initial-cluster-token="+r.Token, "--initial-cluster-state=new")
	if others := r.others(); len(others) > 0 {
		r.Next = append(r.Next, fmt.Sprintf("restore the same snapshot for %s, with the same cluster and token; then start all of them", strings.Join(others, " and ")))
	}
	r.Next = append(r.Next, "start etcd with these flags, listening and with certificates as before; then etcdctl endpoint status -w table")
	return r
}

// others are the names in the initial cluster that are not this member's.
func (r Restored) others() []string {
	var names []string
	seen := map[string]bool{r.Name: true}
	for _, m := range strings.Split(r.InitialCluster, ",") {
		if name, _, ok := strings.Cut(strings.TrimSpace(m), "="); ok && !seen[name] {
			names, seen[name] = append(names, name), true
		}
	}
	return names
}

// Text for a person.
func (r Restored) Text(s Style) string {
	var b strings.Builder
	const width = 10
	line := func(label, format string, args ...any) {
		b.WriteString(labelled(label, width, []string{fmt.Sprintf(format, args...)}))
	}
	line("Restored", "%s %s", r.DataDir, s.good("✔ verified and flushed"))
	line("From", "%s", r.Source)
	line("SHA-256", "%s", r.SHA256)
	switch {
	case r.Revision == r.SnapshotRevision && !r.Compacted:
		line("Revision", "%s, as in the snapshot %s clients that saw a later one will not notice the restore", grouped(r.Revision), s.warn("⚠"))
	case !r.Compacted:
		line("Revision", "%s → %s", grouped(r.SnapshotRevision), grouped(r.Revision))
	default:
		line("Revision", "%s → %s, compacted up to there: every client lists anew", grouped(r.SnapshotRevision), grouped(r.Revision))
	}
	keys := grouped(r.Keys) + " keys"
	if r.Keys < 0 {
		keys = "keys not counted"
	}
	line("Content", "%s, %s", keys, Bytes(positive(r.Bytes)))
	line("Cluster", "%s, token %s", r.ClusterID, r.Token)
	line("Member", "%s, %s at %s", r.MemberID, r.Name, strings.Join(r.PeerURLs, ","))
	line("Time", "%s", r.timeText())
	b.WriteString(labelled("etcd", width, r.EtcdFlags))
	b.WriteString(labelled("Next", width, r.Next))
	return b.String()
}

func (r Restored) timeText() string {
	round := func(seconds float64) string {
		d := time.Duration(seconds * float64(time.Second))
		if d < time.Second {
			return d.Round(time.Millisecond).String()
		}
		return d.Round(10 * time.Millisecond).String()
	}
	var parts []string
	for _, p := range r.Parts {
		parts = append(parts, p.What+" "+round(p.Seconds))
	}
	if len(parts) == 0 {
		return round(r.Seconds)
	}
	return fmt.Sprintf("%s (%s)", round(r.Seconds), strings.Join(parts, ", "))
}
