package upgrade

import (
	"fmt"
	"strconv"
	"strings"
)

// Version of etcd.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Series is the version without its patch.
func (v Version) Series() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Parse reads a version as etcd writes it (3.6.6) or as an image's tag does
// (v3.6.6, 3.6.6-0).
func Parse(s string) (Version, error) {
	plain, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(plain, ".")
	if len(parts) != 3 {
		return Version{}, fmt.Errorf("version %q is not of the form 3.6.6", s)
	}
	var n [3]int
	for i, part := range parts {
		x, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("version %q is not of the form 3.6.6", s)
		}
		n[i] = int(x)
	}
	return Version{n[0], n[1], n[2]}, nil
}

// series orders versions without their patch: a cluster version (3.6.0) has
// none that means anything.
func (v Version) series() int { return v.Major*1000 + v.Minor }

// Less orders versions.
func (v Version) Less(o Version) bool {
	if v.series() != o.series() {
		return v.series() < o.series()
	}
	return v.Patch < o.Patch
}
