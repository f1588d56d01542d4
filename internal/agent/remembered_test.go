package agent

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

func TestRemembered(t *testing.T) {
	var r remembered[int]
	made := 0
	length := func(of []byte) (int, error) {
		made++
		if len(of) == 0 {
			return 0, errors.New("nothing there")
		}
		return len(of), nil
	}
	raw := []byte("abc")
	for i, row := range []struct {
		of         []byte
		want, made int
		fails      bool
	}{
		{nil, 0, 1, true}, {nil, 0, 1, true}, {raw, 3, 2, false}, {[]byte("abc"), 3, 2, false}, {[]byte("abcd"), 4, 3, false}, {raw, 3, 4, false}, {nil, 0, 5, true},
	} {
		got, err := r.get(row.of, length)
		if got != row.want || made != row.made || (err != nil) != row.fails {
			t.Errorf("%d: %d, %v, made %d times", i, got, err, made)
		}
	}
	// Who called may write over it.
	if _, err := r.get(raw, length); err != nil {
		t.Fatal(err)
	}
	raw[0] = 'x'
	if _, err := r.get([]byte("abc"), length); err != nil || made != 6 {
		t.Errorf("%v, made %d times", err, made)
	}
}

// TestServedFollowsItsFile: what is remembered of it never outlasts the file that it was read from (I15).
func TestServedFollowsItsFile(t *testing.T) {
	a := &Agent{paths: node.Paths{Root: t.TempDir()}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if got := a.served(); got.Revision != 0 {
		t.Errorf("without a file: %+v", got)
	}
	if err := durable.MkdirAll(a.paths.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, revision := range []int64{11, 12, 12, 10} {
		if err := durable.WriteJSON(a.paths.Served(), node.Served{ClusterID: "c", Revision: revision, At: time.Unix(1, 0).UTC()}, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := a.served(); got.Revision != revision {
				t.Errorf("%+v, and %d was written", got, revision)
			}
		}
	}
	if err := os.Remove(a.paths.Served()); err != nil {
		t.Fatal(err)
	}
	if got := a.served(); got.Revision != 0 {
		t.Errorf("without its file: %+v", got)
	}
}
