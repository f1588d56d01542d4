package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
)

// bucket is a store in an object store's bucket or container.
type bucket struct {
	at      place
	blobs   *blob.Bucket
	secrets secrets
	limit   time.Duration
	// status takes apart what the provider's library gave: the HTTP status (0: there was no answer) and its own code.
	status func(error) (int, string)
	// create begins an upload of the name (prefix and key).
	create func(ctx context.Context, name string) Writer
	// remove deletes the name; of what is not there, it may say so.
	remove func(ctx context.Context, name string) error
	// reachable asks the bucket something whose answer says what is wrong; nil where a look-up's does so itself.
	reachable func(ctx context.Context) error
}

func (b *bucket) URL() string  { return b.at.String() }
func (b *bucket) Local() bool  { return false }
func (b *bucket) Close() error { return b.blobs.Close() }

// fail makes an error of what the provider's library gave. ctx is the one that the request ran under.
func (b *bucket) fail(ctx context.Context, op, key string, err error) error {
	kind := kindOf(err)
	if ctx.Err() != nil {
		// The libraries wrap it in their own ways, or put their own error in its place.
		if kind = ctx.Err(); errors.Is(context.Cause(ctx), ErrStalled) {
			kind = context.Cause(ctx)
		}
	}
	if kind == nil {
		kind = b.kind(err)
	}
	return b.secrets.fail(op, key, b.URL(), kind, err)
}

// errNoBucket is apart from ErrNotFound: "there is no backup" must not be concluded from a wrong URL.
var errNoBucket = errors.New("there is no such bucket; create it, or correct the store's URL")

func (b *bucket) kind(err error) error {
	status, code := b.status(err)
	switch code {
	case "NoSuchBucket", "ContainerNotFound":
		return errNoBucket
	case "QuotaExceeded", "XMinioStorageFull":
		return ErrFull
	}
	if why := denied(status, code); why != nil {
		return why
	}
	switch status {
	case http.StatusNotFound:
		// A load balancer without a server behind it answers 404 too, and servers use it for a user that they do not know.
		if slices.Contains([]string{"NoSuchKey", "NotFound", "BlobNotFound", "notFound"}, code) {
			return ErrNotFound
		}
	case http.StatusInsufficientStorage:
		return ErrFull
	}
	// Not gocloud.dev's own code where there was no answer: to it, a host that cannot be resolved is an object that is not
	// there, and "there is no backup" would be concluded from a name server's outage.
	return nil
}

// bounded gives a context for one request that moves no object.
func (b *bucket) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, b.limit, &stallError{limit: b.limit})
}

// name of a key's object in the bucket.
func (b *bucket) name(ctx context.Context, key string) (string, error) {
	if err := ValidKey(key); err != nil {
		return "", err
	}
	return b.at.prefix + key, ctx.Err()
}

func (b *bucket) Stat(ctx context.Context, key string) (Object, error) {
	name, err := b.name(ctx, key)
	if err != nil {
		return Object{}, b.fail(ctx, "look up", key, err)
	}
	limited, cancel := b.bounded(ctx)
	defer cancel()
	a, err := b.blobs.Attributes(limited, name)
	if err != nil {
		err = b.fail(limited, "look up", key, err)
		// The answer to a look-up has no body that could say what is missing or why it is refused.
		if b.reachable != nil && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied)) {
			if reason := b.reachable(limited); reason != nil {
				if reason = b.fail(limited, "look up", key, reason); !errors.Is(reason, ErrNotFound) {
					err = reason
				}
			}
		}
		return Object{}, err
	}
	return Object{Key: key, Size: a.Size, ModTime: a.ModTime}, nil
}

func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if strings.Contains(prefix, "//") || strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "../") {
			return // no valid key begins with it
		}
		objects := b.blobs.List(&blob.ListOptions{Prefix: b.at.prefix + prefix})
		for {
			limited, cancel := b.bounded(ctx)
			o, err := objects.Next(limited)
			if err != nil && !errors.Is(err, io.EOF) {
				err = b.fail(limited, "list", prefix, err)
			}
			cancel()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Object{}, err)
				return
			}
			// Consoles make objects that stand for folders, with a slash at the end.
			key := strings.TrimPrefix(o.Key, b.at.prefix)
			if o.IsDir || ValidKey(key) != nil {
				continue
			}
			if !yield(Object{Key: key, Size: o.Size, ModTime: o.ModTime}, nil) {
				return
			}
		}
	}
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	name, err := b.name(ctx, key)
	if err != nil {
		return b.fail(ctx, "delete", key, err)
	}
	limited, cancel := b.bounded(ctx)
	defer cancel()
	if err := b.remove(limited, name); err != nil {
		if err = b.fail(limited, "delete", key, err); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

func (b *bucket) Create(ctx context.Context, key string) (Writer, error) {
	name, err := b.name(ctx, key)
	if err != nil {
		return nil, b.fail(ctx, "create", key, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return &upload{in: b, ctx: ctx, cancel: cancel, key: key, w: b.create(ctx, name)}, nil
}

// upload gives a provider's writer this package's errors and its once-only ends.
type upload struct {
	in     *bucket
	ctx    context.Context //nolint:containedctx // a writer lives as long as the operation that made it
	cancel context.CancelCauseFunc
	key    string
	w      Writer
	err    error // the first failure: nothing can be committed after it
	done   bool
}

var errEnded = errors.New("the object is committed or aborted already")

func (u *upload) Write(p []byte) (int, error) {
	if u.done {
		return 0, u.in.secrets.fail("write", u.key, u.in.URL(), nil, errEnded)
	}
	if u.err == nil && u.ctx.Err() != nil {
		u.err = u.in.fail(u.ctx, "write", u.key, u.ctx.Err())
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.w.Write(p)
	if err != nil {
		u.err = u.in.fail(u.ctx, "write", u.key, err)
	}
	return n, u.err
}

func (u *upload) Commit() error {
	if u.done {
		return u.in.secrets.fail("write", u.key, u.in.URL(), nil, errEnded)
	}
	err := u.err
	if err == nil && u.ctx.Err() != nil {
		err = u.in.fail(u.ctx, "write", u.key, u.ctx.Err())
	}
	if err == nil {
		if err = u.w.Commit(); err != nil {
			err = u.in.fail(u.ctx, "write", u.key, err)
		}
	}
	if err != nil {
		if left := u.Abort(); left != nil {
			err = fmt.Errorf("%w (and %w)", err, left)
		}
		return err
	}
	u.done = true
	u.cancel(nil)
	return nil
}

// Abort ends the requests under way and removes the parts that lie in the store already.
func (u *upload) Abort() error {
	if u.done {
		return nil
	}
	u.done = true
	u.cancel(nil)
	if err := u.w.Abort(); err != nil {
		return u.in.secrets.fail("clean up after", u.key, u.in.URL(), u.in.kindOf(err), err)
	}
	return nil
}

func (b *bucket) kindOf(err error) error {
	if kind := kindOf(err); kind != nil {
		return kind
	}
	return b.kind(err)
}
