package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/progress"
	"clusteretcd.io/ceo/lab/internal/state"
)

func TestParseSize(t *testing.T) {
	for _, row := range []struct {
		in   string
		want int64
	}{
		{"512M", 512 << 20}, {"2G", 2 << 30}, {"300M", 300 << 20}, {"100M", 0}, {"2", 0}, {"G", 0}, {"-2G", 0}, {"2T", 0}, {"", 0}, {"1.5G", 0},
	} {
		t.Run(row.in, func(t *testing.T) {
			got, err := parseSize(row.in)
			if got != row.want || (err == nil) != (row.want > 0) {
				t.Errorf("parseSize(%q) = %d, %v; want %d", row.in, got, err, row.want)
			}
		})
	}
}

func TestBadArgumentsAreRefusedBeforeAnythingIsTouched(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"up --nodes 2", "1, 3 or 5"},
		{"up --etcd-disk 1M", "too small"},
		{"kill", "at least 1 arg"},
		{"wipe", "accepts 1 arg"},
		{"kubelet 1 reload", "start, stop or restart"},
		{"status -o yaml", "text or json"},
		{"cp a b", "exactly one"},
		{"image out.tar ref", "at least 3 arg"},
		{"load /not/there.tar", "no file"},
		{"logs 1 etcd", "no lab is up"},
		{"exec 1 -- true", "no lab is up"},
		{"exec 1 --", "no command"},
		{"kubectl get nodes", "no cluster is up"},
	} {
		t.Run(row.args, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "lab")
			a := &app{dir: state.Dir(dir), cache: deps.Cache(filepath.Join(dir, "cache")), r: progress.New(io.Discard)}
			root := a.root()
			root.SetArgs(strings.Fields(row.args))
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			err := root.Execute()
			if err == nil || (!strings.Contains(err.Error(), row.want) && !strings.Contains(err.Error(), "needs root")) {
				t.Errorf("lab %s: %v; want an error about %q", row.args, err, row.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("it made the lab's folder")
			}
		})
	}
}

func TestSeekLines(t *testing.T) {
	for _, row := range []struct {
		name, in string
		n        int
		want     string
	}{
		{"all", "a\nb\nc\n", 0, "a\nb\nc\n"},
		{"last two", "a\nb\nc\n", 2, "b\nc\n"},
		{"no newline at the end", "a\nb", 1, "b"},
		{"more than there are", "a\nb\n", 9, "a\nb\n"},
		{"across blocks", strings.Repeat("x", 40<<10) + "\nlast\n", 1, "last\n"},
		{"empty", "", 3, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(p, []byte(row.in), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(p) //nolint:gosec // the test's own
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if err := seekLines(f, row.n); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(f)
			if err != nil || string(got) != row.want {
				t.Errorf("%q, %v; want %q", got, err, row.want)
			}
		})
	}
}
