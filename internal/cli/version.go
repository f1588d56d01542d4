package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version of this program, set by the linker
// (-X clusteretcd.io/ceo/internal/cli.Version=v1.2.3).
var Version = "dev"

type versionView struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	// Platform is os/architecture.
	Platform string `json:"platform"`
}

// ShowVersion prints which program this is.
func ShowVersion(s Streams, f Format) error {
	v := versionView{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, set := range info.Settings {
			if set.Key == "vcs.revision" {
				v.Commit = set.Value
			}
		}
	}
	return s.show(f, v, func() string {
		commit := ""
		if v.Commit != "" {
			commit = fmt.Sprintf("commit %.12s, ", v.Commit)
		}
		return fmt.Sprintf("%s %s (%s%s, %s)\n", s.Name, v.Version, commit, v.Go, v.Platform)
	})
}
