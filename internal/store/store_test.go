package store_test

import (
	"testing"

	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/storetest"
)

func open(t *testing.T, url string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestFolderConforms(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) store.Store { return open(t, "file://"+t.TempDir()+"/backups") })
}

func TestMemoryConforms(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) store.Store { return open(t, "mem://"+t.Name()) })
}

// Without faults, the faulty store of the tests is a store.
func TestFaultyConforms(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) store.Store {
		return storetest.NewFaulty(open(t, "mem://"+t.Name()))
	})
}
