package restore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/datadir"
)

// TestCheckSpace: a disk too full is refused with where, how much and how much there is (P27, I25), also when the data
// dir is yet to be made.
func TestCheckSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	if err := checkSpace(dir, 4096); err != nil {
		t.Fatal(err)
	}
	var no *datadir.NoSpaceError
	if err := checkSpace(dir, 1<<60); !errors.As(err, &no) || no.Need < 1<<60 || no.Free == 0 || no.Path == "" {
		t.Fatalf("got %v", err)
	}
}

// TestCheckVersions: data of an etcd that this program does not know is not edited either (P30).
func TestCheckVersions(t *testing.T) {
	for _, row := range []struct {
		storage, etcd string
		ok            bool
		says          string
	}{
		{"", "", true, ""},
		{"3.7", "", true, ""},
		{"3.6", "3.6.1", true, ""},
		{"3.7", "3.6.1", false, "etcd here is 3.6.1"},
		{"3.99", "", false, "use a newer ceo"},
		{"4.0", "4.0.1", false, "use a newer ceo"},
		{"x", "", false, "not a version"},
	} {
		err := checkVersions(row.storage, row.etcd)
		if (err == nil) != row.ok || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("I22: data of %q under etcd %q: %v", row.storage, row.etcd, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for _, row := range []struct {
		storage, etcd string
		ok            bool
	}{
		{"", "3.5.26", true},
		{"3.6", "", true},
		{"3.6", "3.7.3", true},
		{"3.7", "v3.7.0", true},
		{"3.7", "3.6.9", false},
		{"3.10", "3.9.1", false},
		{"4.0", "3.9", false},
		{"3.7", "latest", false},
		{"x", "3.7.3", false},
	} {
		if err := checkVersion(row.storage, row.etcd); (err == nil) != row.ok {
			t.Errorf("I22: data of %q under etcd %q: %v", row.storage, row.etcd, err)
		}
	}
}
