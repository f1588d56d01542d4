package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/snapshot"
)

// landed is a snapshot whose bytes are in place, all of them checked.
type landed struct {
	info    snapshot.Info
	receive time.Duration // until the source's last byte
	check   time.Duration // from there until the last of it was checked and written
	flush   <-chan error  // the early flush of what was written, begun and not waited for
}

// land puts the database of a snapshot at path, which must not be there, and checks it on the way: one pass, each byte
// read once and written once.
//
// Nothing is read a second time afterwards. What was checked is what was handed to the file system, from the same
// buffer; reading it back through the page cache would give those very bytes again and prove nothing of the disk.
func land(ctx context.Context, src Source, path string, skipHash bool, progress func(done, total int64)) (l landed, err error) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // below the staging directory
	if err != nil {
		return l, err
	}
	w := newWriteback(out)
	defer func() {
		// Behind it the file is closed.
		if flushed := w.finish(err == nil); err == nil {
			l.flush = flushed
		}
	}()

	in, total, cloned, err := openSource(ctx, src, out)
	if err != nil {
		return l, err
	}
	defer func() { _ = in.Close() }()
	check := snapshot.NewChecker(snapshot.CheckOptions{SkipHash: skipHash})
	defer check.Close()

	var ended time.Time
	sinks := []func([]byte) error{func(b []byte) error { _, err := check.Write(b); return err }}
	if cloned {
		sinks = append(sinks, count(total, progress, func([]byte) error { return nil }))
	} else {
		sinks = append(sinks, count(total, progress, w.write))
	}
	size, err := pipe(ctx, in, func() { ended = time.Now() }, sinks...)
	if err != nil {
		return l, err
	}
	w.begin()
	durable.Point("restore: received")
	if l.info, err = check.Finish(); err != nil {
		return l, err
	}
	// The hash is no part of the database.
	if l.info.HashPresent {
		if err := out.Truncate(size - sha256.Size); err != nil {
			return l, err
		}
	}
	l.receive, l.check = ended.Sub(begin), time.Since(ended)
	return l, nil
}

func count(total int64, progress func(done, total int64), sink func([]byte) error) func([]byte) error {
	if progress == nil {
		return sink
	}
	var done int64
	return func(b []byte) error {
		err := sink(b)
		done += int64(len(b))
		progress(done, total)
		return err
	}
}

// openSource begins to read. A local file on a file system that can share blocks is cloned, which writes nothing; then
// it is the clone that is read and checked, because the original could change in between.
func openSource(ctx context.Context, src Source, out *os.File) (in io.ReadCloser, size int64, cloned bool, err error) {
	if src.Path == "" {
		in, err := src.Open(ctx)
		if err != nil {
			return nil, 0, false, fmt.Errorf("open %s: %w", src.Name(), err)
		}
		return in, src.Size, false, nil
	}
	f, err := os.Open(src.Path)
	if err != nil {
		return nil, 0, false, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: not a regular file", src.Path, snapshot.ErrNotSnapshot)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, false, err
	}
	if err := unix.IoctlFileClone(int(out.Fd()), int(f.Fd())); err == nil { //nolint:gosec // file descriptors fit an int
		_ = f.Close()
		return io.NopCloser(io.NewSectionReader(out, 0, st.Size())), st.Size(), true, nil
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL) //nolint:gosec // as above
	return f, st.Size(), false, nil
}

// flushStep is after how many bytes the kernel is told to begin writing: small against the whole, so that little is
// left when the last byte arrives, and large against what a disk does in one go.
const flushStep = 32 << 20

// writeSize is how much is handed to the kernel at once. A larger write is given larger pieces of memory in the page cache,
// and those a virtual machine's host may have taken back meanwhile, to be asked for again at their first use: of 1 GB on
// such a machine, writes of 1 MiB took 3.1 s of system time, of 256 KiB 1.4 s, of 64 KiB 0.7 s, the same bytes to the same disk.
const writeSize = 64 << 10

// writeback writes a file and has the kernel bring it to disk along the way. Left alone, the kernel begins when some
// seconds or a share of the memory have passed; of 1 GiB, 0.5 s of 1.4 s were then left for the flush at the end, and
// 0.01 s of 0.9 s so. Allocating the file's blocks in advance made both slower.
type writeback struct {
	f          *os.File
	off, begun int64
	steps      chan [2]int64
	done       chan error
}

func newWriteback(f *os.File) *writeback {
	w := &writeback{f: f, steps: make(chan [2]int64, 64), done: make(chan error, 1)}
	go w.run()
	return w
}

func (w *writeback) write(b []byte) error {
	for len(b) > 0 {
		n, err := w.f.Write(b[:min(len(b), writeSize)])
		w.off += int64(n)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	if w.off-w.begun >= flushStep {
		w.begin()
	}
	return nil
}

// begin asks for what was written since it was last asked.
func (w *writeback) begin() {
	select {
	case w.steps <- [2]int64{w.begun, w.off - w.begun}:
		w.begun = w.off
	default: // the disk is far behind: a larger step later
	}
}

// finish begins the flush of all there is, if it is wanted, and closes the file after it.
func (w *writeback) finish(flush bool) <-chan error {
	if !flush {
		w.steps <- [2]int64{-1, 0}
	}
	close(w.steps)
	if !flush {
		<-w.done //nolint:errcheck // what ended it is the news
	}
	return w.done
}

func (w *writeback) run() {
	fd := int(w.f.Fd()) //nolint:gosec // a file descriptor fits an int
	flush := true
	for s := range w.steps {
		if s[0] < 0 {
			flush = false
			continue
		}
		// A hint: what it does not do (or a file system can not do) is done by the flush.
		_ = unix.SyncFileRange(fd, s[0], s[1], unix.SYNC_FILE_RANGE_WRITE)
	}
	var err error
	if flush {
		err = w.f.Sync()
	}
	w.done <- errors.Join(err, w.f.Close())
}
