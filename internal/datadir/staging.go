package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

// Staged is the word of whoever built a staging directory that everything below it was verified and flushed (I2).
type Staged struct {
	IDs
	Revision int64     `json:"revision"`
	Token    string    `json:"token,omitempty"`
	At       time.Time `json:"at"`
	// Detail is the builder's own record of what it did, returned when it is asked to build the same again.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// ErrUnfinished: a staging directory without the word that it is complete.
var ErrUnfinished = errors.New("the staged data dir is not finished")

const stagedName = "staged.json"

// StagingDir is where a data dir is built: on the data dir's own file system, so that putting it in place is one
// rename. etcd's directory layout is used below it, so it can be inspected as a data dir.
func StagingDir(dataDir, id string) string { return filepath.Join(dataDir, ownName, "staging", id) }

// BeginStaging removes what an earlier, unfinished build of the same id left and makes the directory. A finished one is
// kept: ErrExist, read it with ReadStaged.
func BeginStaging(dataDir, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	dir := StagingDir(dataDir, id)
	_, err := durable.ReadJSON[Staged](filepath.Join(dir, stagedName))
	if err == nil {
		return fmt.Errorf("staging %s: %w", dir, fs.ErrExist)
	}
	// staged.json is written whole or not at all: one that does not parse is disk damage, and what it vouched for is
	// as suspect. It is this directory's own copy, never the only one.
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clear unfinished staging: %w", err)
	}
	return durable.MkdirAll(dir, 0o700)
}

// FinishStaging flushes everything below the staging directory and then gives the word.
func FinishStaging(dataDir, id string, s Staged) error {
	if err := checkID(id); err != nil {
		return err
	}
	dir := StagingDir(dataDir, id)
	if err := durable.SyncTree(dir); err != nil {
		return err
	}
	faultPoint("stage: flushed, not finished")
	return durable.WriteJSON(filepath.Join(dir, stagedName), s, 0o600)
}

// ReadStaged gives the record of a finished staging directory, also after it was activated. ErrUnfinished otherwise.
func ReadStaged(dataDir, id string) (Staged, error) {
	if err := checkID(id); err != nil {
		return Staged{}, err
	}
	dir := StagingDir(dataDir, id)
	s, err := durable.ReadJSON[Staged](filepath.Join(dir, stagedName))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w: %s has no %s; stage it again", ErrUnfinished, dir, stagedName)
	}
	return s, err
}

// Activate renames a finished staging directory's member into the data dir. Called again after it was done it returns
// nil, which it knows by the ids in the WAL. It never replaces a member directory: ErrOccupied; archive that first.
func Activate(dataDir, id string) error {
	if err := activate(dataDir, id); err != nil {
		return fmt.Errorf("put the staged data dir %s in place: %w", id, err)
	}
	return nil
}

func activate(dataDir, id string) error {
	s, err := ReadStaged(dataDir, id)
	if err != nil {
		return err
	}
	staging := StagingDir(dataDir, id)
	from := MemberDir(staging)
	built, err := exists(from)
	if err != nil {
		return err
	}
	present, err := exists(MemberDir(dataDir))
	if err != nil {
		return err
	}
	switch {
	case built && present:
		return fmt.Errorf("%w in %s: set it aside first", ErrOccupied, dataDir)
	case !built && !present:
		return fmt.Errorf("%w: %s has no member directory; stage it again under another name", ErrUnfinished, staging)
	case !built:
		ids, err := ReadIDs(dataDir)
		if err != nil {
			return err
		}
		if ids != s.IDs {
			return fmt.Errorf("%w in %s: it is of cluster %x, the staged one was of %x", ErrOccupied, dataDir, ids.ClusterID, s.ClusterID)
		}
		// A crash may have come between the rename and the flush.
		return durable.SyncDir(dataDir)
	}
	ids, err := ReadIDs(staging)
	if err != nil {
		return err
	}
	if ids != s.IDs {
		return fmt.Errorf("%w: %s is of cluster %x, its record says %x", ErrUnfinished, staging, ids.ClusterID, s.ClusterID)
	}
	faultPoint("activate: before rename")
	if err := durable.RenameNew(from, MemberDir(dataDir)); err != nil {
		return err
	}
	faultPoint("activate: renamed")
	return nil
}

// DiscardStaging removes a staging directory that is not needed: a copy of a source that still exists elsewhere.
func DiscardStaging(dataDir, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	dir := StagingDir(dataDir, id)
	// The word first: a crash in the removal must not leave half a directory that claims to be whole.
	if err := os.Remove(filepath.Join(dir, stagedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discard staging: %w", err)
	}
	if _, err := os.Stat(dir); err == nil {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("discard staging: %w", err)
	}
	return nil
}
