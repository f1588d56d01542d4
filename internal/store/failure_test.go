package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKindOf(t *testing.T) {
	for _, row := range []struct{ err, want error }{
		{&fs.PathError{Op: "open", Err: syscall.ENOENT}, ErrNotFound},
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, ErrFull},
		{&fs.PathError{Op: "write", Err: syscall.EDQUOT}, ErrFull},
		{syscall.EACCES, ErrDenied},
		{syscall.EROFS, ErrDenied},
		{&stallError{limit: time.Second}, ErrStalled},
		{&deniedError{todo: "x"}, ErrDenied},
		{fmt.Errorf("x: %w", context.Canceled), context.Canceled},
		{context.DeadlineExceeded, context.DeadlineExceeded},
		{fmt.Errorf("x: %w", ErrLength), ErrLength},
		{io.ErrUnexpectedEOF, nil},
		{syscall.EIO, nil},
		{nil, nil},
	} {
		if got := kindOf(row.err); !errors.Is(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("kindOf(%v) = %v, want %v", row.err, got, row.want)
		}
	}
}

// A refusal says what to do about it.
func TestDenied(t *testing.T) {
	for _, row := range []struct {
		status int
		code   string
		want   string
	}{
		{403, "InvalidAccessKeyId", "accessKeyID in the credentials file"},
		{403, "SignatureDoesNotMatch", "secret does not fit"},
		{403, "AuthenticationFailed", "secret does not fit"},
		{400, "ExpiredToken", "session token"},
		{403, "RequestTimeTooSkewed", "set the clock"},
		{400, "AuthorizationHeaderMalformed", "?region="},
		{301, "", "?region="},
		{403, "AccessDenied", "may list, read, write and delete"},
		{403, "", "may list, read, write and delete"},
		{401, "", "check the credentials file"},
		{404, "NoSuchKey", ""},
		{500, "InternalError", ""},
		{0, "", ""},
	} {
		err := denied(row.status, row.code)
		if row.want == "" {
			if err != nil {
				t.Errorf("%+v is no refusal: %v", row, err)
			}
			continue
		}
		if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v", row, err)
		}
	}
}

func TestFailureSaysWhatAndWhere(t *testing.T) {
	none := secrets(nil)
	for _, row := range []struct {
		err  error
		want string
	}{
		{none.fail("read", "a/b", "s3://x", ErrNotFound, errors.New("404")), `read "a/b" in s3://x: no such object: 404`},
		{none.fail("open store", "", "s3://x", nil, errors.New("why")), `open store s3://x: why`},
		{none.fail("read", "k", "s3://x", errNoBucket, nil), `read "k" in s3://x: there is no such bucket; create it, or correct the store's URL`},
		{none.fail("read", "k", "s3://x", nil, fmt.Errorf("%w: 3 of 4", ErrLength)), `read "k" in s3://x: the store delivered another length than it announced: 3 of 4`},
	} {
		if row.err.Error() != row.want {
			t.Errorf("%q, want %q", row.err, row.want)
		}
	}
	inner := none.fail("read", "k", "s3://x", ErrNotFound, nil)
	if outer := none.fail("list", "p", "s3://y", nil, fmt.Errorf("again: %w", inner)); strings.Contains(outer.Error(), "list") {
		t.Errorf("an error of this package was wrapped twice: %v", outer)
	}
	if errors.Is(none.fail("read", "k", "s3://x", errNoBucket, nil), ErrNotFound) {
		t.Error("a missing bucket must not be taken for \"there is no backup\"")
	}
}

// P29: what shows a secret is blanked out, and the error that would show it is not handed on.
func TestFailureShowsNoSecret(t *testing.T) {
	s := secretsOf(Credentials{SecretAccessKey: "hunter2hunter2"})
	cause := fmt.Errorf("bad key hunter2hunter2: %w", http.ErrHandlerTimeout)
	err := s.fail("read", "k", "s3://x", ErrDenied, cause)
	if strings.Contains(fmt.Sprintf("%v %+v %#v %q", err, err, err, err), "hunter2") {
		t.Fatalf("%#v", err)
	}
	if errors.Is(err, http.ErrHandlerTimeout) {
		t.Fatal("whoever unwraps it would print the secret")
	}
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "[redacted]") {
		t.Fatal(err)
	}
	harmless := s.fail("read", "k", "s3://x", nil, fmt.Errorf("x: %w", http.ErrHandlerTimeout))
	if !errors.Is(harmless, http.ErrHandlerTimeout) {
		t.Fatal("the cause is lost without need")
	}
}
