// Package s3test runs a real S3 server (versitygw) for tests and benchmarks: on loopback, on a free port, over a folder,
// with credentials of its own, gone with whoever started it. The binary is the cache's (`make deps-s3`), or the one that
// CEO_VERSITYGW names. Between the server and a test, a Proxy makes the faults of a network.
package s3test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// Version of versitygw that the tests run against: tools/s3/go.mod's.
const Version = "v1.8.0"

// WaitFor bounds each wait: generous, for a machine with two busy cores.
const WaitFor = 2 * time.Minute

// Binary is where the server is.
func Binary() (string, error) {
	path := os.Getenv("CEO_VERSITYGW")
	if path == "" {
		cache := os.Getenv("CEO_LAB_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("s3test: %w; set CEO_VERSITYGW to the path of versitygw", err)
			}
			cache = filepath.Join(home, ".cache", "ceo-lab")
		}
		path = filepath.Join(cache, "tools", "versitygw-"+Version)
	}
	if _, err := os.Stat(path); err != nil { //nolint:gosec // a path that the one who runs the tests names
		return "", fmt.Errorf("s3test: no S3 server at %s: run `make deps-s3`, or set CEO_VERSITYGW to the path of versitygw", path)
	}
	return path, nil
}

// Start runs a server until the end of the test. Without the binary the test fails.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), WaitFor)
	defer cancel()
	s, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Logf("last of the S3 server's output:\n%s", s.Output())
		}
	})
	return s
}

// Config makes a bucket of its own and names it: a store.Config that opens an empty store.
func (s *Server) Config(t testing.TB) store.Config {
	t.Helper()
	bucket := "t-" + strings.ToLower(rand.Text())
	ctx, cancel := context.WithTimeout(t.Context(), WaitFor)
	defer cancel()
	if err := s.MakeBucket(ctx, bucket); err != nil {
		t.Fatal(err)
	}
	return store.Config{URL: s.URL(bucket), Credentials: s.Credentials}
}
