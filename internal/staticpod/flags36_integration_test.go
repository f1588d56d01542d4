//go:build integration

package staticpod

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd/upgrade"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestRenamedFlagsAreKnown: an etcd does not start with a flag that it does not know. What 3.5 was given, real etcds of 3.6
// and 3.7 know by the names that it gets there, and the other way round (P23).
func TestRenamedFlagsAreKnown(t *testing.T) {
	old := []string{
		"etcd", "--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s", "--experimental-corrupt-check-time", "1h",
		"--experimental-compact-hash-check-enabled=true", "--experimental-compact-hash-check-time=2m", "--experimental-compaction-batch-limit=100",
		"--experimental-compaction-sleep-interval=10ms", "--experimental-downgrade-check-time=5s", "--experimental-warning-apply-duration=200ms",
		"--experimental-bootstrap-defrag-threshold-megabytes=100", "--experimental-enable-lease-checkpoint=true",
		"--experimental-enable-lease-checkpoint-persist=true", "--experimental-txn-mode-write-with-shared-buffer=true", "--enable-v2=false",
	}
	v := func(s string) upgrade.Version {
		x, err := upgrade.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	v35, v36, v37 := v(etcdtest.Version35), v(etcdtest.Version36), v(etcdtest.Version)
	in36 := translate(old, v35, v36)
	for name, c := range map[string]struct {
		bin  string
		args []string
	}{
		"3.5 as it was":       {etcdtest.OldBinDir(t, etcdtest.Version35), old},
		"3.6":                 {etcdtest.OldBinDir(t, etcdtest.Version36), in36},
		"3.7, from 3.6":       {etcdtest.BinDir(t), translate(in36, v36, v37)},
		"3.5 again, from 3.6": {etcdtest.OldBinDir(t, etcdtest.Version35), translate(in36, v36, v35)},
	} {
		t.Run(name, func(t *testing.T) {
			// A missing certificate ends it after its flags were read, before it listens anywhere.
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			args := append(append([]string{}, c.args[1:]...), "--data-dir="+t.TempDir(), "--cert-file=/none", "--key-file=/none",
				"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1", "--listen-peer-urls=http://127.0.0.1:2")
			out, err := exec.CommandContext(ctx, filepath.Join(c.bin, "etcd"), args...).CombinedOutput()
			for _, bad := range []string{"flag provided but not defined", "unrecognized feature gate", "unknown flag", "invalid value"} {
				if strings.Contains(string(out), bad) {
					t.Errorf("%v: %s", err, out)
				}
			}
			if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "/none") {
				t.Errorf("it did not come as far as its certificate: %v\n%s", err, out)
			}
		})
	}
}
