package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

var (
	// ErrNothing: there is no member directory to set aside.
	ErrNothing = errors.New("nothing to set aside")
	// ErrOccupied: a member directory is in the way; nothing is ever overwritten (I1).
	ErrOccupied = errors.New("a member directory is present")
)

// ArchiveInfo says why a data dir is set aside.
type ArchiveInfo struct {
	Reason     string // short, becomes part of the entry's name: "recovery", "removed", "older-epoch"
	RecoveryID string
	Epoch      uint64
	Node       string
	At         time.Time
	// Identity is what was inspected before; the caller has it already and a second look could differ.
	Identity Identity
}

// key: one recovery sets aside for one reason once, however often it is resumed (I20).
func (i ArchiveInfo) key() string { return i.RecoveryID + "/" + i.Reason }

// Entry is one data dir set aside.
type Entry struct {
	ID         string    `json:"id"` // the entry's directory name
	Key        string    `json:"key"`
	Reason     string    `json:"reason"`
	RecoveryID string    `json:"recoveryID,omitempty"`
	Epoch      uint64    `json:"epoch,omitempty"`
	Node       string    `json:"node,omitempty"`
	At         time.Time `json:"at"`
	Identity   Identity  `json:"identity"`

	// Held: the member directory is in the entry. False for one that was put back, or whose rename never came to pass.
	Held bool   `json:"-"`
	Path string `json:"-"` // of the entry
}

const recordName = "record.json"

func archiveRoot(dataDir string) string { return filepath.Join(dataDir, ownName, "archive") }

// Archive renames <data dir>/member into a new entry. With a RecoveryID it is idempotent: called again after it was
// done, or after a crash at any point in between, it ends in the same one entry. A member directory that appeared
// after this recovery already set one aside is not touched: ErrOccupied with the entry there is.
func Archive(dataDir string, info ArchiveInfo) (Entry, error) {
	e, err := archive(dataDir, info)
	if err != nil {
		err = fmt.Errorf("set aside %s: %w", MemberDir(dataDir), err)
	}
	return e, err
}

func archive(dataDir string, info ArchiveInfo) (Entry, error) {
	present, err := exists(MemberDir(dataDir))
	if err != nil {
		return Entry{}, err
	}
	e, found, err := findEntry(dataDir, info)
	switch {
	case err != nil && !present:
		// With a member directory to set aside, a record that can not be read costs at most a second entry.
		return Entry{}, err
	case found && e.Held && present:
		return e, fmt.Errorf("%w after %s was set aside for the same reason", ErrOccupied, e.ID)
	case found && e.Held:
		// A crash may have come between the rename and the flush.
		return e, durable.SyncDir(dataDir)
	case !present:
		return Entry{}, ErrNothing
	case !found:
		if e, err = newEntry(dataDir, info); err != nil {
			return Entry{}, err
		}
	}
	faultPoint("archive: before rename")
	if err := durable.RenameNew(MemberDir(dataDir), filepath.Join(e.Path, memberName)); err != nil {
		return Entry{}, err
	}
	faultPoint("archive: renamed")
	e.Held = true
	return e, nil
}

// findEntry looks for what an earlier, interrupted call left. Without a RecoveryID each call is its own.
func findEntry(dataDir string, info ArchiveInfo) (Entry, bool, error) {
	if info.RecoveryID == "" {
		return Entry{}, false, nil
	}
	all, err := ListArchive(dataDir)
	for _, e := range all {
		if e.Key == info.key() {
			return e, true, nil
		}
	}
	return Entry{}, false, err
}

func newEntry(dataDir string, info ArchiveInfo) (Entry, error) {
	at := info.At.UTC()
	root := archiveRoot(dataDir)
	if err := durable.MkdirAll(root, 0o700); err != nil {
		return Entry{}, err
	}
	base := at.Format("20060102T150405Z") + "-" + slug(info.Reason)
	id := base
	for n := 2; ; n++ {
		err := os.Mkdir(filepath.Join(root, id), 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || n > 1000 {
			return Entry{}, err
		}
		id = fmt.Sprintf("%s-%d", base, n)
	}
	e := Entry{
		ID: id, Key: info.key(), Reason: info.Reason, RecoveryID: info.RecoveryID, Epoch: info.Epoch,
		Node: info.Node, At: at, Identity: info.Identity, Path: filepath.Join(root, id),
	}
	faultPoint("archive: entry without record")
	if err := durable.WriteJSON(filepath.Join(e.Path, recordName), e, 0o600); err != nil {
		return Entry{}, err
	}
	return e, durable.SyncDir(root)
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slug(s string) string {
	s = strings.Trim(notSlug.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > 32 {
		s = strings.Trim(s[:32], "-")
	}
	if s == "" {
		return "unnamed"
	}
	return s
}

// ListArchive gives the entries, oldest first by name. An entry directory without a record is what a crash leaves
// before anything was moved into it; it is not listed. Entries with a record that can not be read are listed with
// what the directory says, and the error is returned beside the list.
func ListArchive(dataDir string) ([]Entry, error) {
	root := archiveRoot(dataDir)
	dirs, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what was set aside: %w", err)
	}
	var all []Entry
	var errs []error
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		path := filepath.Join(root, d.Name())
		held, err := exists(filepath.Join(path, memberName))
		if err != nil {
			errs = append(errs, err)
		}
		e, err := durable.ReadJSON[Entry](filepath.Join(path, recordName))
		if errors.Is(err, fs.ErrNotExist) && !held {
			continue
		}
		if err != nil {
			errs = append(errs, err)
		}
		e.ID, e.Path, e.Held = d.Name(), path, held
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all, errors.Join(errs...)
}

// Unarchive puts an entry's member directory back. It is idempotent as far as that can be known: put back already,
// it returns nil only if the member directory there has the ids that the record has.
func Unarchive(dataDir, entryID string) error {
	if err := unarchive(dataDir, entryID); err != nil {
		return fmt.Errorf("put back %s into %s: %w", entryID, dataDir, err)
	}
	return nil
}

func unarchive(dataDir, entryID string) error {
	if err := checkID(entryID); err != nil {
		return err
	}
	path := filepath.Join(archiveRoot(dataDir), entryID)
	from := filepath.Join(path, memberName)
	held, err := exists(from)
	if err != nil {
		return err
	}
	present, err := exists(MemberDir(dataDir))
	if err != nil {
		return err
	}
	switch {
	case held && present:
		return fmt.Errorf("%w in %s", ErrOccupied, dataDir)
	case held:
		return durable.RenameNew(from, MemberDir(dataDir))
	case !present:
		return fmt.Errorf("no such entry with a member directory: %w", fs.ErrNotExist)
	}
	e, err := durable.ReadJSON[Entry](filepath.Join(path, recordName))
	if err != nil {
		return err
	}
	ids, err := ReadIDs(dataDir)
	if err != nil || ids != e.Identity.IDs {
		return fmt.Errorf("%w in %s, and it is not this entry's", ErrOccupied, dataDir)
	}
	return durable.SyncDir(dataDir)
}

// checkID keeps a name that came over the wire inside its directory.
func checkID(id string) error {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return fmt.Errorf("%q is not a valid name", id)
	}
	return nil
}

// exists is false only if path certainly is not there: an I/O error is not absence (I23).
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// faultPoint is where the crash tests kill the process; in the product it does nothing.
var faultPoint = func(string) {}
