//go:build integration

package store_test

import (
	"errors"
	"flag"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/storetest"
)

// TestMain lets more tests run at once than there are cores: most wait for a limit or for another try.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(6, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readRange reads "a" from its beginning and counts.
func readRange(t *testing.T, s store.Store, length int64) (n int64, err error) {
	t.Helper()
	r, err := s.Range(t.Context(), "a", 0, length)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.Copy(io.Discard, r)
}

// asks does at once what moves no object, and gives the errors by name: each takes its retries' time.
func asks(t *testing.T, s store.Store) map[string]error {
	t.Helper()
	var (
		wg              sync.WaitGroup
		stat, list, del error
	)
	wg.Go(func() { _, stat = s.Stat(t.Context(), "a") })
	wg.Go(func() { _, list = storetest.Keys(t.Context(), s, "") })
	wg.Go(func() { del = s.Delete(t.Context(), "a") })
	wg.Wait()
	return map[string]error{"Stat": stat, "List": list, "Delete": del}
}
