package agent

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/recovery"
)

// toStatus keeps an error's text and gives it a code that callers act on:
// Aborted is locked, FailedPrecondition refused, DeadlineExceeded a limit that
// was reached, Unknown everything that a person must look at.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var refused *recovery.RefusedError
	switch {
	case errors.As(err, &refused):
		switch refused.Kind {
		case recovery.Locked:
			return status.Error(codes.Aborted, refused.Text)
		case recovery.Unsafe:
			return status.Error(codes.FailedPrecondition, refused.Text)
		case recovery.Impossible:
		}
		return status.Error(codes.InvalidArgument, refused.Text)
	case errors.Is(err, backup.ErrExposed):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}
