#!/usr/bin/env bash
# Builds a program whose wall clock a test can move: clock.sh OUT PACKAGE.
#
# In it, time.Now reads a number of seconds from the file that CEO_CLOCK names, and is off by that; timers and the monotonic
# clock stay as they are, as where somebody sets a machine's clock. The machine has one clock for all, Linux' time
# namespaces leave that one out, and a static program cannot be preloaded; so Go's own package is built with one line more.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$1 package=$2
std=$(go env GOROOT)/src/time
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

sed '/^func Now() Time {$/,/^}$/ s/^\t\(sec, nsec, mono := runtimeNow()\)$/\t\1; sec += moved()/' "$std/time.go" >"$dir/time.go"
if [[ $(grep -c 'sec += moved()' "$dir/time.go") != 1 ]]; then
	echo "clock.sh: time.Now of $(go env GOVERSION) is not what this script knows: see $std/time.go" >&2
	exit 1
fi
# Now is called on the scheduler's own stack as well, where nothing may be read.
cat >"$dir/moved.go" <<'GO'
package time

import (
	"sync/atomic"
	"syscall"
)

var movedBy atomic.Int64

func moved() int64 { return movedBy.Load() }

func init() {
	name, ok := syscall.Getenv("CEO_CLOCK")
	if !ok {
		return
	}
	movedBy.Store(readMoved(name))
	go func() {
		for {
			Sleep(50 * Millisecond)
			movedBy.Store(readMoved(name))
		}
	}()
}

func readMoved(name string) int64 {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	var b [24]byte
	n, _ := syscall.Read(fd, b[:])
	_ = syscall.Close(fd)
	by, err := atoi(b[:max(n, 0)])
	if err != nil {
		return 0
	}
	return int64(by)
}
GO
printf '{"Replace": {"%s": "%s", "%s": "%s"}}\n' "$std/time.go" "$dir/time.go" "$std/moved.go" "$dir/moved.go" >"$dir/overlay.json"
CGO_ENABLED=0 go build -trimpath -overlay "$dir/overlay.json" -o "$out" "$package"
