package s3test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestVersionIsTheOneThatIsBuilt(t *testing.T) {
	mod, err := os.ReadFile("../../../tools/s3/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\tgithub\.com/versity/versitygw (\S+)`).FindSubmatch(mod)
	if m == nil || string(m[1]) != Version {
		t.Fatalf("tools/s3/go.mod pins %q, the tests look for %s", m, Version)
	}
}

func TestBinaryNamesTheCommand(t *testing.T) {
	t.Setenv("CEO_VERSITYGW", "")
	t.Setenv("CEO_LAB_CACHE", t.TempDir())
	if _, err := Binary(); err == nil || !strings.Contains(err.Error(), "make deps-s3") {
		t.Fatal(err)
	}
}
