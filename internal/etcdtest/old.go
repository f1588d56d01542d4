package etcdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Versions of older etcds: those of tools/etcd35/go.mod and tools/etcd36/go.mod.
const (
	Version35 = "3.5.35"
	Version36 = "3.6.16"
)

// OldBinDir is where etcd and etcdctl of an older version are; the test fails when they are not there.
func OldBinDir(t testing.TB, version string) string {
	t.Helper()
	dir, err := oldBinDir(version)
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	return dir
}

func oldBinDir(version string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; set CEO_LAB_CACHE to the folder of what was built for tests", err)
	}
	dir := filepath.Join(cache, "tools", "etcd-v"+version)
	for _, name := range []string{"etcd", "etcdctl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("no %s in %s: run `make deps-old-etcd`", name, dir)
		}
	}
	return dir, nil
}

// cacheDir is the lab's.
func cacheDir() (string, error) {
	if dir := os.Getenv("CEO_LAB_CACHE"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "ceo-lab"), err
}
