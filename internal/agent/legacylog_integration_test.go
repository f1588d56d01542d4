//go:build integration

package agent

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/staticpod"
)

// TestReadsLog: on a log of 3.5, 3.7 is refused and nothing else is (P31).
func TestReadsLog(t *testing.T) {
	m := etcdtest.Start(t, etcdtest.Options{Bin: etcdtest.OldBinDir(t, etcdtest.Version35)}).Members[0]
	for name, c := range map[string]struct {
		have, want string
		code       codes.Code
	}{
		"3.6 to 3.7":             {"3.6.16", "3.7.3", codes.FailedPrecondition},
		"3.5 to 3.6":             {"3.5.35", "3.6.16", codes.OK},
		"another quota":          {"3.6.16", "", codes.OK},
		"3.7 runs already":       {"3.7.0", "3.7.3", codes.OK},
		"an image of no version": {"", "3.7.3", codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			err := ReadsLog(etcdtest.Context(t), m.DataDir, staticpod.Content{Version: c.have}, staticpod.Content{Version: c.want})
			if status.Code(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}
