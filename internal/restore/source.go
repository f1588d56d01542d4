package restore

import (
	"context"
	"errors"
	"io"
)

// Source is where a snapshot comes from: a local file, or a stream. The bytes are those that etcd sends or that a
// copy of its database file has: whole pages, and the hash of them at the end if there is one.
type Source struct {
	Path string // of a local file

	// Open begins the stream; it is called once, and closed however the restore ends. A read must end soon after ctx
	// does. Not with Path.
	Open  func(ctx context.Context) (io.ReadCloser, error)
	Label string // names a stream in messages and in the result
	Size  int64  // bytes of the stream, hash included: for the check of free space and for progress; 0: unknown

	SHA256 string // hex, of the whole file; empty: not compared
	// Revision and StorageVersion are what is known of a stream before it is read, so that what must not be restored is
	// refused before; 0 and empty: unknown. What counts is what is found in it.
	Revision       int64
	StorageVersion string
}

// Name for messages.
func (s Source) Name() string {
	if s.Path != "" {
		return s.Path
	}
	return s.Label
}

func (s Source) check() error {
	if (s.Path == "") == (s.Open == nil) {
		return errors.New("a source is either a local file or a stream")
	}
	return nil
}
