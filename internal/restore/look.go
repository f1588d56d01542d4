package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"clusteretcd.io/ceo/internal/datadir"
)

// found is what lies in a data dir that a restore is to fill.
type found struct {
	exists  bool
	blocked bool // by a blocker, ours
	made    bool // the directory was made by the restore that put the blocker there
	touch   bool // the second blocker, see exchange.go
	staging bool // .ceo/staging/restore, ours
	member  bool // a member directory
	tmp     []string
	others  []string // what is not ours, relative
}

var tmpName = regexp.MustCompile(`^` + regexp.QuoteMeta(blockerTmp) + `[0-9a-f]{16}$`)

// look names each entry; what is not known is not ours (P19).
func look(dir string) (f found, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case errors.Is(err, syscall.ENOTDIR):
		return f, fmt.Errorf("%w: %s is a file", datadir.ErrOccupied, dir)
	case err != nil:
		return f, err
	}
	f.exists = true
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch name := e.Name(); {
		case name == "lost+found":
			// The data dir is the top of a file system of its own.
		case name == "member" && e.IsDir():
			f.member = true
		case name == "member":
			if f.blocked, f.made, err = isBlocker(path); err == nil && !f.blocked {
				f.others = append(f.others, name)
			}
		case name == touchName && e.IsDir():
			if f.touch, err = isSecondBlocker(path); err == nil && !f.touch {
				f.others = append(f.others, name)
			}
		case name == ".ceo" && e.IsDir():
			err = f.lookOwn(dir)
		case tmpName.MatchString(name):
			f.tmp = append(f.tmp, path)
		default:
			f.others = append(f.others, name)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// lookOwn: besides a restore's staging there may be what an agent keeps, archives above all.
func (f *found) lookOwn(dir string) error {
	staging := filepath.Dir(datadir.StagingDir(dir, offlineID))
	for _, at := range []struct{ dir, own string }{
		{filepath.Dir(staging), filepath.Base(staging)}, {staging, offlineID},
	} {
		entries, err := os.ReadDir(at.dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() != at.own {
				rel, err := filepath.Rel(dir, filepath.Join(at.dir, e.Name()))
				if err != nil {
					return err
				}
				f.others = append(f.others, rel)
			} else if at.own == offlineID {
				f.staging = true
			}
		}
	}
	return nil
}

// occupied says what lies there.
func (f found) occupied(dir string) error {
	var what []string
	if f.member {
		s := "an etcd member's data"
		if ids, err := datadir.ReadIDs(dir); err == nil {
			s = fmt.Sprintf("the data of member %x of cluster %x", ids.MemberID, ids.ClusterID)
		}
		what = append(what, s)
	}
	what = append(what, f.others...)
	return fmt.Errorf("%w: %s holds %s; choose another directory, or move it aside", datadir.ErrOccupied, dir, strings.Join(what, ", "))
}

// free: nothing is there but what a restore of ours left.
func (f found) free() bool { return !f.member && len(f.others) == 0 }
