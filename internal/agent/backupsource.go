package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/recovery"
)

// A backup is named to the agent as backup:NAME, where NAME may be latest. In a plan it is backup:ID@DIGEST: what runs
// is what was planned, and a resume finds it on this node with the store out of reach.
const backupPrefix = "backup:"

var backupRef = regexp.MustCompile(`^backup:([A-Za-z0-9][A-Za-z0-9.-]*)(?:@([0-9a-f]{64}))?$`)

// parseBackup takes a reference apart; digest is empty where it is not yet known.
func parseBackup(ref string) (name, digest string, ok bool) {
	m := backupRef.FindStringSubmatch(ref)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

const (
	// catalogueLimit bounds the look at the store for a plan: with the control plane dead, a store that does not answer
	// must not keep the local files from being found.
	catalogueLimit = 8 * time.Second
	// offered is how many backups a plan considers if none was named: the newest is taken, the rest is shown.
	offered = 3
)

// resolve brings a backup reference to its final form.
func (a *Agent) resolve(ctx context.Context, ref string) (string, error) {
	name, sum, ok := parseBackup(ref)
	if !ok || sum != "" {
		return ref, nil
	}
	e, err := a.keeper().Find(ctx, name)
	if err != nil {
		return "", err
	}
	return backupPrefix + e.ID + "@" + e.Manifest.Database.SHA256, nil
}

// bring fetches a backup's snapshot onto the data dir's file system, verified, if it is not there yet.
func (a *Agent) bring(ctx context.Context, ref string) error {
	name, sum, ok := parseBackup(ref)
	if !ok {
		return nil
	}
	if sum == "" {
		return status.Errorf(codes.InvalidArgument, "%s has no digest: plan first", ref)
	}
	path := a.incoming(sum)
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return toStatus(err)
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return toStatus(err)
	}
	defer busy()()
	v, err := a.keeper().Fetch(ctx, name, path, "", func(string, int64, int64) {})
	if errors.Is(err, fs.ErrExist) {
		return nil // another call was faster
	}
	if err != nil {
		return toStatus(err)
	}
	if got := v.Entry.Manifest.Database.SHA256; got != sum {
		return status.Errorf(codes.FailedPrecondition, "backup %s is not the one that the plan was made of (digest %.12s, planned %.12s)", name, got, sum)
	}
	return nil
}

// backupSource describes a backup for a plan by its manifest: it was read back when it was made, and is read whole again
// before anything is touched.
func (a *Agent) backupSource(e backup.Entry, store string) recovery.Source {
	label := "backup " + e.ID + " in " + store
	if e.Problem != "" {
		return recovery.Source{Label: label, Problem: e.Problem}
	}
	d := e.Manifest.Database
	if e.Proof != nil {
		label += fmt.Sprintf(" (proven %s)", e.Proof.At.UTC().Format("2006-01-02 15:04 MST"))
	}
	s := recovery.Source{
		Label: label, Ref: backupPrefix + e.ID + "@" + d.SHA256,
		SHA256: d.SHA256, Size: d.Size, Revision: d.Revision, Keys: d.LiveKeys, StorageVersion: d.StorageVersion, TakenAt: e.Manifest.StartedAt,
	}
	_, here, err := backup.GatherResources(a.paths, nil)
	if err != nil {
		a.log.Warn("this node's keys cannot be compared with the backup's", "error", err)
		return s
	}
	for _, diff := range backup.Compare(here, e.Manifest) {
		switch diff.Field {
		case backup.FieldEncryptionKeys:
			s.Problem = diff.Text
		case backup.FieldServiceAccount:
			s.OtherServiceAccountKey = diff.Text
		case backup.FieldEtcdCA, backup.FieldKubernetesCA:
			s.Foreign = diff.Text
		}
	}
	return s
}

// catalogueSources are the newest backups. A store that cannot be read is a source with a problem, so that it is said.
func (a *Agent) catalogueSources(ctx context.Context) []recovery.Source {
	ctx, cancel := context.WithTimeout(ctx, catalogueLimit)
	defer cancel()
	l, err := a.keeper().List(ctx)
	if err != nil {
		return []recovery.Source{{Label: "the backup store", Problem: "it cannot be read: " + client.Reason(err)}}
	}
	var out []recovery.Source
	for i, e := range l.Entries {
		if i == offered {
			break
		}
		out = append(out, a.backupSource(e, l.Store))
	}
	return out
}

// namedBackup is the source for a backup that a person named.
func (a *Agent) namedBackup(ctx context.Context, ref string) recovery.Source {
	name, _, _ := parseBackup(ref)
	ctx, cancel := context.WithTimeout(ctx, catalogueLimit)
	defer cancel()
	l, err := a.keeper().List(ctx)
	if err != nil {
		return recovery.Source{Label: strings.TrimPrefix(ref, backupPrefix), Problem: "the backup store cannot be read: " + client.Reason(err)}
	}
	e, err := backup.Find(l.Entries, name)
	if err != nil {
		return recovery.Source{Label: name, Problem: client.Reason(err)}
	}
	return a.backupSource(e, l.Store)
}
