package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
)

// place is a data dir that is being filled: ours, and closed to etcd.
type place struct {
	dir     string
	made    bool     // dir was made by a restore, and goes when that fails
	parents []string // made by this one, deepest first
	lock    *os.File
	whole   bool // the member is in place: nothing is undone any more
}

// claimDir makes dir ours, or says why it can not be. What an interrupted restore left in it is removed.
func claimDir(dir string) (p *place, err error) {
	f, err := look(dir)
	if err != nil {
		return nil, err
	}
	if !f.free() {
		return nil, f.occupied(dir)
	}
	p = &place{dir: dir, made: f.made}
	switch {
	case !f.exists:
		err = p.make()
	case f.blocked:
		p.lock, p.made, err = openBlocker(datadir.MemberDir(dir))
	default:
		p.lock, err = newBlocker(datadir.MemberDir(dir), false)
	}
	if err != nil {
		p.removeParents()
		return nil, fmt.Errorf("prepare %s: %w", dir, err)
	}
	durable.Point("restore: data dir is ours")
	if err := p.clear(); err != nil {
		p.unlock()
		return nil, fmt.Errorf("clear away what an interrupted restore left in %s: %w", dir, err)
	}
	return p, nil
}

// make brings the directory into being with the blocker in it, by one rename.
func (p *place) make() error {
	parent := filepath.Dir(p.dir)
	var err error
	if p.parents, err = missing(parent); err != nil {
		return err
	}
	if err := durable.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := clearParts(p.dir); err != nil {
		return err
	}
	part, err := partName(p.dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(part, 0o700); err != nil {
		return err
	}
	p.made = true
	if p.lock, err = newBlocker(datadir.MemberDir(part), true); err == nil {
		durable.Point("restore: data dir made, not in place")
		err = durable.RenameNew(part, p.dir)
	}
	if err != nil {
		p.unlock()
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

// clear removes all but the blocker.
func (p *place) clear() error {
	f, err := look(p.dir)
	if err != nil {
		return err
	}
	if err := discard(p.dir); err != nil {
		return err
	}
	if f.touch {
		if err := os.RemoveAll(filepath.Join(p.dir, touchName)); err != nil {
			return err
		}
	}
	for _, tmp := range f.tmp {
		if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.SyncDir(p.dir)
}

// discard removes the staging directory and, if they are empty then, those above it.
func discard(dir string) error {
	staging := datadir.StagingDir(dir, offlineID)
	if err := datadir.DiscardStaging(dir, offlineID); err != nil {
		return err
	}
	for up := filepath.Dir(staging); up != dir; up = filepath.Dir(up) {
		_ = os.Remove(up)
	}
	return nil
}

// put is the one step that makes the data dir whole.
func (p *place) put() error {
	staged := datadir.MemberDir(datadir.StagingDir(p.dir, offlineID))
	err := putInPlace(staged, datadir.MemberDir(p.dir))
	st, statErr := os.Lstat(datadir.MemberDir(p.dir))
	p.whole = statErr == nil && st.IsDir()
	return err
}

// done clears away what is not needed any more. The data dir is whole: what can not be removed is no reason to say that
// it is not, and etcd does not mind it.
func (p *place) done() {
	staging := datadir.StagingDir(p.dir, offlineID)
	// The record last: with it, a restore that is asked for again knows that it was done.
	_ = os.Remove(datadir.MemberDir(staging))
	durable.Point("restore: blocker removed")
	_ = discard(p.dir)
	_ = durable.SyncDir(p.dir)
	p.unlock()
}

// undo leaves the data dir as it was before. The blocker goes last, and where the directory goes too, with it: at no
// moment is there an empty directory that a restore made.
func (p *place) undo() error {
	defer p.unlock()
	blocker := datadir.MemberDir(p.dir)
	f, err := look(p.dir)
	if err != nil {
		return err
	}
	if !f.blocked {
		p.unlock()
		if p.lock, err = newBlocker(blocker, p.made); err != nil {
			return err
		}
	}
	if err := p.clear(); err != nil {
		return err
	}
	if !p.made || !f.free() {
		if err := os.Remove(blocker); err != nil {
			return err
		}
		return durable.SyncDir(p.dir)
	}
	part, err := partName(p.dir)
	if err != nil {
		return err
	}
	if err := durable.RenameNew(p.dir, part); err != nil {
		return err
	}
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	p.removeParents()
	return nil
}

func (p *place) removeParents() { removeEmpty(p.parents) }

// removeEmpty removes directories, the deepest first, up to one that is not empty: somebody else's by now.
func removeEmpty(dirs []string) {
	for _, dir := range dirs {
		if os.Remove(dir) != nil {
			return
		}
	}
}

func (p *place) unlock() {
	if p.lock != nil {
		_ = p.lock.Close()
	}
}

func partName(dir string) (string, error) {
	name, err := randomName()
	return dir + "." + name + ".part", err
}

// clearParts removes directories that crashes left beside dir, on their way in or out.
func clearParts(dir string) error {
	parent := filepath.Dir(dir)
	name := regexp.MustCompile(`^` + regexp.QuoteMeta(filepath.Base(dir)) + `\.[0-9a-f]{16}\.part$`)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !name.MatchString(e.Name()) {
			continue
		}
		part := filepath.Join(parent, e.Name())
		f, err := look(part)
		if err != nil {
			return err
		}
		switch {
		case !f.free():
			continue
		case f.blocked:
			err = clearPart(part, datadir.MemberDir(part))
		case len(f.tmp) == 1:
			err = clearPart(part, f.tmp[0])
		default:
			_ = os.Remove(part) // if it is empty
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func clearPart(part, blocker string) error {
	lock, err := openLocked(blocker)
	if errors.Is(err, errAtWork) || errors.Is(err, fs.ErrNotExist) {
		return nil // another restore's, under way
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := discard(part); err != nil {
		return err
	}
	return os.RemoveAll(part)
}
