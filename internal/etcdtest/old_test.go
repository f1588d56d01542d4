package etcdtest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestOldVersionsAreThoseThatAreBuilt(t *testing.T) {
	for module, version := range map[string]string{"etcd35": Version35, "etcd36": Version36} {
		mod, err := os.ReadFile("../../tools/" + module + "/go.mod") //nolint:gosec // this repository's
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"server", "etcdctl"} {
			m := regexp.MustCompile(`(?m)^\tgo\.etcd\.io/etcd/` + part + `/v3 v(\S+)`).FindSubmatch(mod)
			if m == nil || string(m[1]) != version {
				t.Errorf("tools/%s/go.mod pins %s %q, the tests look for %s", module, part, m, version)
			}
		}
	}
}

func TestOldBinDirNamesTheCommand(t *testing.T) {
	t.Setenv("CEO_LAB_CACHE", t.TempDir())
	if _, err := oldBinDir(Version35); err == nil || !strings.Contains(err.Error(), "make deps-old-etcd") {
		t.Fatal(err)
	}
}
