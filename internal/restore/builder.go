package restore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/snapshot"
)

// Build is what a Builder is asked for.
type Build struct {
	Source   Source
	SkipHash bool
	Dir      string // the new data dir: exists, and is empty
	WALDir   string // must not exist
	Membership

	// Revise is asked once, when the whole snapshot is checked and before anything in it is changed: for the revision
	// to begin at, everything up to it compacted, or 0 to leave it. An error ends the build.
	Revise   func(snapshot.Info) (int64, error)
	Progress func(done, total int64)
}

// Elapsed says where a restore's time went. What is left to do after the source's last byte is all but Receive.
type Elapsed struct {
	Receive time.Duration // until the source gave its last byte, checking and writing along
	Check   time.Duration // of what was still under way then
	Edit    time.Duration // the one transaction
	Flush   time.Duration // reading back, and to disk
}

// AfterLastByte is the work left when the source has given its last byte.
func (e Elapsed) AfterLastByte() time.Duration { return e.Check + e.Edit + e.Flush }

// Builder makes a member's data dir of a snapshot, which it has verified whole when it says what was in it. It need not
// be atomic, nor flush, nor prove what it made: its caller does.
type Builder interface {
	Build(ctx context.Context, b Build) (snapshot.Info, Elapsed, error)
}

// Native reads the source once and writes the database once. WAL and snapshot file, which depend on nothing in it, are
// made meanwhile.
type Native struct{}

// Build implements Builder.
func (Native) Build(ctx context.Context, b Build) (info snapshot.Info, e Elapsed, err error) {
	c, self, err := b.cluster()
	if err != nil {
		return info, e, err
	}
	values, err := memberValues(c)
	if err != nil {
		return info, e, err
	}
	db := datadir.BackendPath(b.Dir)
	if err := mkdir(filepath.Dir(db)); err != nil {
		return info, e, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	logged := make(chan error, 1)
	go func() {
		err := writeLog(c, self, b.WALDir, filepath.Dir(db))
		if err != nil {
			cancel(err)
		}
		logged <- err
	}()
	l, err := land(ctx, b.Source, db, b.SkipHash, b.Progress)
	// Waited for also when that failed: whoever clears up must not race with it.
	if logErr := <-logged; logErr != nil {
		err = logErr
	}
	if err != nil {
		if l.flush != nil {
			err = errors.Join(err, <-l.flush)
		}
		return l.info, e, err
	}
	e.Receive, e.Check = l.receive, l.check

	begin := time.Now()
	err = change(l.info, b, db, edits{members: values, index: uint64(len(values)), term: firstTerm})
	e.Edit = time.Since(begin)
	// The one place where a failure to write what was received shows: whoever flushes the file later is not told again.
	if flushErr := <-l.flush; err == nil && flushErr != nil {
		err = fmt.Errorf("flush %s: %w", db, flushErr)
	}
	e.Flush = time.Since(begin) - e.Edit
	return l.info, e, err
}

func change(info snapshot.Info, b Build, db string, e edits) (err error) {
	if e.revision, err = b.Revise(info); err != nil {
		return err
	}
	if err := edit(db, e); err != nil {
		return err
	}
	durable.Point("restore: edited")
	return nil
}
