package store

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestValidKey(t *testing.T) {
	for key, want := range map[string]string{
		"a":                                    "",
		"20261124T1402Z-abc/etcd.db":           "",
		"..a/b..":                              "",
		strings.Repeat("s", 200):               "",
		"ü/日本 x":                               "",
		"":                                     "empty",
		"/a":                                   "slash",
		"a/":                                   "slash",
		"a//b":                                 "slash",
		".":                                    `segment "."`,
		"a/..":                                 `segment ".."`,
		"../a":                                 "reserved sequence",
		"a../b":                                "reserved sequence",
		"a__0x2f":                              "reserved sequence",
		`a\b`:                                  "character",
		"a\x00":                                "character",
		"a\x7f":                                "character",
		"\xff":                                 "UTF-8",
		strings.Repeat("s", 201):               "segment of 201 bytes",
		strings.Repeat("a/", 384) + "b":        "769 bytes",
		"x/.a.ABCDEFGHIJKLMNOPQRSTUVWXYZ.part": "unfinished file",
	} {
		err := ValidKey(key)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ValidKey(%q) = %v, want %q", key, err, want)
		}
	}
}

// No valid key leads out of a folder or to another key's place.
func FuzzValidKey(f *testing.F) {
	for _, seed := range []string{"a/b", "../a", "a/./b", "a//b", "\xff", "a\x00b", "a/.."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if ValidKey(key) != nil {
			return
		}
		joined := filepath.Join("/root", filepath.FromSlash(key))
		if joined != "/root/"+key {
			t.Fatalf("%q leads to %q", key, joined)
		}
	})
}
