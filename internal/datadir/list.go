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
	"syscall"
)

// listing is what is in a data dir by exact names. Nothing is ever matched by a glob: a stray file beside the data must
// not be taken for data, nor make the data unreadable (P19).
type listing struct {
	wals   []string // sorted
	db     bool
	strays []string
}

var (
	walName  = regexp.MustCompile(`^[0-9a-f]{16}-[0-9a-f]{16}\.wal$`)
	snapName = regexp.MustCompile(`^[0-9a-f]{16}-[0-9a-f]{16}\.snap$`)
	// What etcd leaves in its directories besides: preallocated WAL files, what `Repair` and a broken snapshot leave,
	// databases received from a leader, the temporary files of those and of a defragmentation.
	walExtra  = regexp.MustCompile(`^([0-9]+\.tmp|[0-9a-f]{16}-[0-9a-f]{16}\.wal\.broken)$`)
	snapExtra = regexp.MustCompile(`^([0-9a-f]{16}\.snap\.db|[0-9a-f]{16}-[0-9a-f]{16}\.snap\.broken|tmp[0-9]+|db\.tmp\.[0-9]+)$`)
)

func list(dataDir string) (listing, error) {
	var l listing
	top, err := readDir(dataDir)
	if err != nil {
		return l, err
	}
	stray := func(dir, name string) {
		rel, err := filepath.Rel(dataDir, filepath.Join(dir, name))
		if err != nil {
			rel = name
		}
		l.strays = append(l.strays, rel)
	}
	for _, e := range top {
		// lost+found: the data dir is often the top of a file system of its own.
		if e.Name() != memberName && !strings.HasPrefix(e.Name(), ".") && e.Name() != "lost+found" {
			stray(dataDir, e.Name())
		}
	}
	member, err := readDir(MemberDir(dataDir))
	if err != nil {
		return l, err
	}
	for _, e := range member {
		// wal.tmp: a first start that did not get to its rename.
		if n := e.Name(); n != "wal" && n != "snap" && n != "wal.tmp" {
			stray(MemberDir(dataDir), n)
		}
	}
	wal, err := readDir(WALDir(dataDir))
	if err != nil {
		return l, err
	}
	for _, e := range wal {
		switch {
		case walName.MatchString(e.Name()):
			l.wals = append(l.wals, e.Name())
		case !walExtra.MatchString(e.Name()):
			stray(WALDir(dataDir), e.Name())
		}
	}
	sort.Strings(l.wals)
	snapDir := filepath.Dir(BackendPath(dataDir))
	snap, err := readDir(snapDir)
	if err != nil {
		return l, err
	}
	for _, e := range snap {
		switch {
		case e.Name() == "db":
			l.db = true
		case !snapName.MatchString(e.Name()) && !snapExtra.MatchString(e.Name()):
			stray(snapDir, e.Name())
		}
	}
	return l, nil
}

// readDir gives no entries for a directory that is not there.
func readDir(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, damaged("%s is not a directory", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return entries, nil
}
