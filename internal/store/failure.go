package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// failure is an error of a store: what was done, to which key, where, and what came of it. It never shows a credential.
type failure struct {
	text string
	// wraps are what errors.Is finds.
	wraps []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.wraps }

// fail makes the error of doing op to a key of the store at where. kind is one of the package's errors, or nil: then
// the cause is looked at. An error that is one already passes as it is.
func (s secrets) fail(op, key, where string, kind, cause error) error {
	var already *failure
	if errors.As(cause, &already) {
		return cause
	}
	if kind == nil {
		kind = kindOf(cause)
	}
	subject := op + " " + where
	if key != "" {
		subject = fmt.Sprintf("%s %q in %s", op, key, where)
	}
	f := &failure{}
	switch {
	case kind != nil && cause != nil && !strings.Contains(cause.Error(), kind.Error()):
		f.text = fmt.Sprintf("%s: %v: %v", subject, kind, cause)
	case cause == nil:
		f.text = fmt.Sprintf("%s: %v", subject, kind)
	default:
		f.text = fmt.Sprintf("%s: %v", subject, cause)
	}
	clean := s.redact(f.text)
	if kind != nil {
		f.wraps = append(f.wraps, kind)
	}
	// The provider's own error is handed on for errors.As, unless printing it would show what was just blanked out.
	if cause != nil && clean == f.text {
		f.wraps = append(f.wraps, cause)
	}
	f.text = clean
	return f
}

// kindOf tells what a cause is in this package's words; nil where it has none.
func kindOf(err error) error {
	for _, known := range []error{ErrNotFound, ErrDenied, ErrStalled, ErrLength, ErrFull, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFull
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ErrDenied
	}
	return nil
}
