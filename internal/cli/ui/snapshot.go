package ui

import (
	"fmt"
	"strings"

	"clusteretcd.io/ceo/internal/snapshot"
)

// Snapshot says what is in a snapshot; verified, that it was read whole.
func Snapshot(i snapshot.Info, verified bool, s Style) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		b.WriteString(labelled(label, 10, []string{fmt.Sprintf(format, args...)}))
	}
	if verified {
		line("Snapshot", "%s %s", i.Path, s.good("✔ read whole and verified"))
	} else {
		line("Snapshot", "%s (looked at, not verified: `ceo snapshot verify`)", i.Path)
	}
	line("Revision", "%s (compacted at %s)", grouped(i.Revision), grouped(i.CompactRevision))
	if verified {
		line("Content", "%s keys, %s entries, %s leases", grouped(i.LiveKeys), grouped(i.TotalKeys), grouped(i.Leases))
		line("Size", "%s (%s in use)", Bytes(positive(i.Size)), Bytes(positive(i.InUse)))
	} else {
		line("Size", "%s", Bytes(positive(i.Size)))
	}
	version := i.StorageVersion
	if version == "" {
		version = "before 3.6"
	}
	line("Storage", "version %s", version)
	var names []string
	for _, m := range i.Members {
		names = append(names, m.Name)
	}
	if len(names) > 0 {
		line("Taken of", "members %s", strings.Join(names, ", "))
	}
	switch {
	case !i.HashPresent:
		line("Hash", "%s none: a database file copied by hand; it proves nothing by itself", s.warn("⚠"))
	case verified:
		line("SHA-256", "%s", i.SHA256)
	}
	return b.String()
}
