package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// readBackend fills what the backend says. A running etcd keeps committing to it: what was read counts only if no
// commit came in between; after a few tries it is left unread (BackendRead false), which is no damage.
func (id *Identity) readBackend(ctx context.Context, dataDir string, l listing, o InspectOptions) error {
	path := BackendPath(dataDir)
	if !l.db {
		return damaged("there is a WAL and no backend %s", path)
	}
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	id.DBSize = size
	id.InUse = locked(f)

	const looks = 20
	var facts backend.Facts
	for range looks {
		// The size anew each time: a running etcd makes the file longer.
		info, statErr := f.Stat()
		if statErr != nil {
			return statErr
		}
		id.DBSize = info.Size()
		var file *backend.File
		if file, err = backend.Open(f, id.DBSize); err == nil {
			facts, err = file.Read()
		}
		if err != nil && !id.InUse {
			break
		}
		if err == nil && (!id.InUse || file.Unchanged()) {
			id.fill(facts)
			if o.WalkBackend && !id.InUse {
				err = id.walkBackend(ctx, file)
			}
			break
		}
	}
	if err == nil || id.InUse && isContent(err) {
		return nil
	}
	if isContent(err) {
		return damaged("backend %s: %v", path, err)
	}
	return fmt.Errorf("backend %s: %w", path, err)
}

func isContent(err error) bool {
	return errors.Is(err, backend.ErrCorrupt) || errors.Is(err, backend.ErrNotBackend) || errors.Is(err, backend.ErrShort)
}

func (id *Identity) walkBackend(ctx context.Context, file *backend.File) error {
	pages, err := file.Walk(ctx, nil)
	if err != nil {
		return err
	}
	id.DBInUse = pages.InUse * file.PageSize()
	return nil
}

func (id *Identity) fill(f backend.Facts) {
	id.BackendRead = true
	id.Blank = f.LastKeyRevision == 0 && f.CompactRevision == 0 && f.ConsistentIndex == 0 && len(f.Members) == 0
	id.ConsistentIndex = f.ConsistentIndex
	id.Revision = f.Revision
	id.CompactRevision = f.CompactRevision
	id.Members = f.Members
	id.Removed = f.Removed
	id.StorageVersion = f.StorageVersion
	id.ClusterVersion = f.ClusterVersion
}

// locked asks whether a process has the backend open for writing: bbolt holds an exclusive flock then. The shared lock
// taken to find out is given back at once; an etcd that starts in that moment tries again 50 ms later by itself. Where
// the file system can not say (a network one), it counts as in use: what is read is then checked for a commit in between.
func locked(f *os.File) bool {
	fd := int(f.Fd()) //nolint:gosec // a file descriptor fits an int
	if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return true
	}
	// Closing the file gives the lock back if this does not.
	_ = unix.Flock(fd, unix.LOCK_UN)
	return false
}
