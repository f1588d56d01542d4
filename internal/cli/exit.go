// Package cli holds the verbs of ceo: each takes its options as a value, reads
// and writes the streams it is given, and returns an error with an exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/client"
)

// The exit codes, the same for every verb.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitNotHealthy  = 2 // or changes pending
	ExitPartial     = 3
	ExitRefused     = 4
	ExitLocked      = 5
	ExitInterrupted = 130
)

// ExitError ends the process with its code. Without a text everything was said
// already: a screen that is not well ends with 2 and no further word.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// silent ends with a code where the screen has said it all.
func silent(code int) error { return &ExitError{Code: code} }

func exitf(code int, format string, args ...any) error {
	return &ExitError{Code: code, Err: fmt.Errorf(format, args...)}
}

// CodeOf is the exit code that an error stands for.
func CodeOf(err error) int {
	var exit *ExitError
	if err == nil {
		return ExitOK
	}
	if errors.As(err, &exit) {
		return exit.Code
	}
	// Errors of packages that know nothing of this one, like a lock that is held.
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	if errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	if s, ok := status.FromError(err); ok {
		return codeOfStatus(s.Code())
	}
	return ExitFailed
}

// codeOfStatus reads the agents' codes, see their toStatus.
func codeOfStatus(c codes.Code) int {
	switch c {
	case codes.OK:
		return ExitOK
	case codes.FailedPrecondition:
		return ExitRefused
	case codes.Aborted:
		return ExitLocked
	case codes.Canceled:
		return ExitInterrupted
	}
	return ExitFailed
}

// Report says an error once and answers with the exit code.
func Report(w io.Writer, name string, err error, interrupted bool) int {
	code := CodeOf(err)
	if interrupted && code != ExitOK {
		code = ExitInterrupted
	}
	var exit *ExitError
	if errors.As(err, &exit) && exit.Err == nil {
		return code
	}
	if code == ExitInterrupted {
		_, _ = fmt.Fprintf(w, "%s: interrupted\n", name)
		return code
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n", name, reason(err))
	return code
}

// reason is an error in words, without gRPC's own around an agent's.
func reason(err error) string {
	if _, ok := status.FromError(err); ok {
		return client.Reason(err)
	}
	return err.Error()
}
