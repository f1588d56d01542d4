package datadir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
)

var at = time.Date(2026, 11, 23, 14, 2, 3, 0, time.FixedZone("CET", 3600))

func info(recovery string) datadir.ArchiveInfo {
	return datadir.ArchiveInfo{
		Reason: "Quorum lost: restore!", RecoveryID: recovery, Epoch: 3, Node: "cp-1", At: at, Identity: datadir.Identity{State: datadir.Present, IDs: ours},
	}
}

func TestArchiveAndBack(t *testing.T) {
	dir := t.TempDir()
	if _, err := datadir.Archive(dir, info("r1")); !errors.Is(err, datadir.ErrNothing) {
		t.Fatalf("nothing there: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("made something of nothing: %v, %v", left, err)
	}
	writeMember(t, dir, ours)
	e, err := datadir.Archive(dir, info("r1"))
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != "20261123T130203Z-quorum-lost-restore" || !e.Held || e.Identity.IDs != ours || e.Epoch != 3 {
		t.Fatalf("%+v", e)
	}
	again, err := datadir.Archive(dir, info("r1"))
	if err != nil || again.ID != e.ID || !again.Held {
		t.Fatalf("I20: %+v, %v", again, err)
	}
	// What came after is not swept up by the same recovery.
	writeMember(t, dir, theirs)
	if got, err := datadir.Archive(dir, info("r1")); !errors.Is(err, datadir.ErrOccupied) || got.ID != e.ID {
		t.Fatalf("I1: %+v, %v", got, err)
	}
	if err := datadir.Unarchive(dir, e.ID); !errors.Is(err, datadir.ErrOccupied) {
		t.Fatalf("I1: %v", err)
	}
	// Another recovery in the same second with the same reason.
	second, err := datadir.Archive(dir, info("r2"))
	if err != nil || second.ID != e.ID+"-2" {
		t.Fatalf("%+v, %v", second, err)
	}
	all, err := datadir.ListArchive(dir)
	if err != nil || len(all) != 2 || all[0].ID != e.ID || all[1].RecoveryID != "r2" || !all[0].At.Equal(at) {
		t.Fatalf("%+v, %v", all, err)
	}
	for range 2 { // I20
		if err := datadir.Unarchive(dir, e.ID); err != nil {
			t.Fatal(err)
		}
	}
	got, err := datadir.Inspect(t.Context(), dir, everything)
	if err != nil || got.State != datadir.Present || got.IDs != ours || len(got.Strays) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "..", "../archive", "no/such", ".hidden", "never-was"} {
		remove(t, datadir.MemberDir(dir))
		if err := datadir.Unarchive(dir, bad); err == nil {
			t.Fatalf("put back %q", bad)
		}
	}
}

func TestArchiveWithoutRecoveryIsEachItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []string{"20261123T130203Z-removed", "20261123T130203Z-removed-2"} {
		writeMember(t, dir, ours)
		e, err := datadir.Archive(dir, datadir.ArchiveInfo{Reason: "removed", At: at})
		if err != nil || e.ID != want {
			t.Fatalf("%+v, %v", e, err)
		}
	}
}

// TestArchiveWithADamagedRecord: one bad record does not stand in the way of a recovery.
func TestArchiveWithADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	writeMember(t, dir, theirs)
	e, err := datadir.Archive(dir, info("r0"))
	if err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(e.Path, "record.json"), func(b []byte) []byte { return b[:10] })
	writeMember(t, dir, ours)
	if _, err := datadir.Archive(dir, info("r1")); err != nil {
		t.Fatal(err)
	}
	all, err := datadir.ListArchive(dir)
	if err == nil || !strings.Contains(err.Error(), "record.json") || len(all) != 2 || !all[0].Held || !all[1].Held {
		t.Fatalf("%+v, %v", all, err)
	}
}

func stageCopy(t testing.TB, dir, id string, ids datadir.IDs) {
	t.Helper()
	if err := datadir.BeginStaging(dir, id); err != nil {
		t.Fatal(err)
	}
	writeMember(t, datadir.StagingDir(dir, id), ids)
	if err := datadir.FinishStaging(dir, id, datadir.Staged{IDs: ids, Revision: 7, At: at}); err != nil {
		t.Fatal(err)
	}
}

func TestActivate(t *testing.T) {
	dir := t.TempDir()
	if err := datadir.Activate(dir, "s1"); !errors.Is(err, datadir.ErrUnfinished) {
		t.Fatalf("nothing staged: %v", err)
	}
	// Everything is there but the word that it is whole.
	if err := datadir.BeginStaging(dir, "s1"); err != nil {
		t.Fatal(err)
	}
	writeMember(t, datadir.StagingDir(dir, "s1"), ours)
	if err := datadir.Activate(dir, "s1"); !errors.Is(err, datadir.ErrUnfinished) {
		t.Fatalf("I2: %v", err)
	}
	stageCopy(t, dir, "s1", ours) // begins anew
	if err := datadir.BeginStaging(dir, "s1"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("cleared a finished one: %v", err)
	}
	writeMember(t, dir, theirs)
	if err := datadir.Activate(dir, "s1"); !errors.Is(err, datadir.ErrOccupied) {
		t.Fatalf("I1: %v", err)
	}
	if ids, err := datadir.ReadIDs(dir); err != nil || ids != theirs {
		t.Fatalf("I1: %+v, %v", ids, err)
	}
	remove(t, datadir.MemberDir(dir))
	for range 2 { // I20
		if err := datadir.Activate(dir, "s1"); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := datadir.ReadIDs(dir); err != nil || ids != ours {
		t.Fatalf("%+v, %v", ids, err)
	}
	if s, err := datadir.ReadStaged(dir, "s1"); err != nil || s.Revision != 7 {
		t.Fatalf("%+v, %v", s, err)
	}
	// Another member's data took the place since: this staging is not what runs there.
	remove(t, datadir.MemberDir(dir))
	writeMember(t, dir, theirs)
	if err := datadir.Activate(dir, "s1"); !errors.Is(err, datadir.ErrOccupied) {
		t.Fatalf("I5: %v", err)
	}
	remove(t, datadir.MemberDir(dir))
	if err := datadir.Activate(dir, "s1"); !errors.Is(err, datadir.ErrUnfinished) {
		t.Fatalf("activated and lost: %v", err)
	}
	// The record and the content do not belong together.
	stageCopy(t, dir, "s2", ours)
	remove(t, datadir.MemberDir(datadir.StagingDir(dir, "s2")))
	writeMember(t, datadir.StagingDir(dir, "s2"), theirs)
	if err := datadir.Activate(dir, "s2"); !errors.Is(err, datadir.ErrUnfinished) {
		t.Fatalf("I5: %v", err)
	}
	for range 2 {
		if err := datadir.DiscardStaging(dir, "s2"); err != nil {
			t.Fatal(err)
		}
	}
	if err := datadir.BeginStaging(dir, "../x"); err == nil {
		t.Fatal("left its directory")
	}
}

func TestRequireSpace(t *testing.T) {
	dir := t.TempDir()
	if err := datadir.RequireSpace(dir, 1); err != nil {
		t.Fatal(err)
	}
	var no *datadir.NoSpaceError
	err := datadir.RequireSpace(dir, 1<<62)
	if !errors.As(err, &no) || !errors.Is(err, datadir.ErrNoSpace) || no.Path != dir || no.Need != 1<<62 || !strings.Contains(err.Error(), dir) {
		t.Fatalf("P27: %v", err)
	}
	if _, _, err := datadir.Space(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}
