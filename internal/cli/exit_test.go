package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/install"
)

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
		says string
	}{
		"well":                     {nil, 0, ""},
		"any error":                {errors.New("broken"), 1, "ceo: broken\n"},
		"silent":                   {silent(ExitNotHealthy), 2, ""},
		"an agent refuses":         {status.Error(codes.FailedPrecondition, "unsafe"), 4, "ceo: unsafe\n"},
		"an agent is locked":       {status.Error(codes.Aborted, "busy"), 5, "ceo: busy\n"},
		"an agent's other error":   {status.Error(codes.InvalidArgument, "what"), 1, "ceo: what\n"},
		"wrapped":                  {fmt.Errorf("look: %w", exitf(ExitPartial, "half")), 3, "ceo: look: half\n"},
		"install refuses":          {&install.RefusedError{Reason: "no quorum"}, 4, "ceo: refused: no quorum\n"},
		"another run has the lock": {&lock.HeldError{}, 5, "*"},
		"interrupted":              {fmt.Errorf("wait: %w", context.Canceled), 130, "ceo: interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			code := CodeOf(c.err)
			if c.err != nil {
				code = Report(&b, "ceo", c.err, false)
			}
			if code != c.code || c.says != "*" && b.String() != c.says {
				t.Errorf("%d %q, want %d %q", code, b.String(), c.code, c.says)
			}
		})
	}
}
