package measure_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/bench/storage/measure"
)

func TestRunSaysWhatItTook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s, out, err := measure.Run(t.Context(), measure.Command{
		Path: "/bin/sh", Args: []string{"-ec", `dd if=/dev/zero of="$F" bs=1M count=8 status=none; sync "$F"; echo done`}, Env: []string{"F=" + path},
	})
	if err != nil || string(out) != "done\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if s.Seconds <= 0 || s.Peak <= 0 || s.Own <= 0 || s.Own > s.Peak {
		t.Errorf("%+v", s)
	}
	// A file system in memory writes nothing.
	if s.Written != 0 && (s.Written < 8<<20 || s.Written > 9<<20) {
		t.Errorf("%d bytes written", s.Written)
	}
}

func TestRunOfWhatFails(t *testing.T) {
	_, _, err := measure.Run(t.Context(), measure.Command{Path: "/bin/sh", Args: []string{"-c", "echo no such thing >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if _, _, err := measure.Run(t.Context(), measure.Command{Path: "/does/not/exist"}); !os.IsNotExist(err) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := measure.Run(ctx, measure.Command{Path: "/bin/sleep", Args: []string{"100"}}); err == nil {
		t.Error("ran to its end")
	}
}

func TestCPU(t *testing.T) {
	before, err := measure.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after, sum := before, 0
	for begun := time.Now(); after < before+0.02 && time.Since(begun) < time.Minute; {
		for i := range 10_000_000 {
			sum += i
		}
		if after, err = measure.CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after < before+0.02 {
		t.Errorf("from %v to %v for nothing but %d", before, after, sum)
	}
}

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := measure.Median(row.of); got != row.want {
			t.Errorf("%v: %v", row.of, got)
		}
	}
	if !math.IsNaN(measure.Median(nil)) {
		t.Error("a median of nothing")
	}
}
