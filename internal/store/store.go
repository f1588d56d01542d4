// Package store is where backups lie: objects under slash-separated keys, in a folder on the node or in an object store.
//
// It knows nothing of what a backup is. Every store keeps the same promises, which one conformance suite checks: an
// object shows under its key whole or not at all, what is listed can be read, a read that ends early is an error.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// What can be wrong with a store or an object. Every error of a Store wraps one of them, a context's error, or is the
// provider's own.
var (
	ErrNotFound = errors.New("no such object")
	ErrDenied   = errors.New("the store refuses access")
	// ErrStalled: no byte moved for the stall limit.
	ErrStalled = errors.New("the store has stopped answering")
	// ErrLength: the store delivered fewer or more bytes than it said the object has.
	ErrLength = errors.New("the store delivered another length than it announced")
	ErrFull   = errors.New("no space left")
)

// Object is what a listing says of an object.
type Object struct {
	Key     string
	Size    int64 // bytes
	ModTime time.Time
}

// Store is safe for concurrent use.
type Store interface {
	// Create begins an object. It shows under its key only once Commit has returned nil, whole; an object that is
	// there already is replaced at that moment.
	Create(ctx context.Context, key string) (Writer, error)
	// Range reads length bytes from offset; a negative length reads to the end. The reader fails with ErrLength where
	// the store ends before, and with ErrStalled where no byte comes for the stall limit.
	Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (Object, error)
	// List gives the objects whose keys begin with prefix, in the order of their keys. Unfinished objects are not in it.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete of what is not there is no error.
	Delete(ctx context.Context, key string) error
	// URL names the place for people: without credentials.
	URL() string
	// Local: the objects are files on this machine, as safe as its own PKI.
	Local() bool
	Close() error
}

// Writer is an object on its way. Exactly one of Commit and Abort ends it; Abort after Commit does nothing, so it can
// be deferred.
type Writer interface {
	io.Writer
	Commit() error
	Abort() error
}

// Config names a store.
type Config struct {
	// URL is file:///path, s3://bucket/prefix?region=…&endpoint=https://host:port, gs://bucket/prefix,
	// azblob://container/prefix, or mem://name (tests).
	URL         string
	Credentials Credentials
	// StallLimit is how long a transfer may move no byte. Default 30 s.
	StallLimit time.Duration
}
