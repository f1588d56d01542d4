//go:build integration

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestCloned: on a file system that shares blocks, a restore of a file that lies there takes no second place for it, is whole,
// and stays whole when the file goes.
func TestCloned(t *testing.T) {
	needRoot(t)
	fx := *source(t)
	fs, s := onDisk(t, "xfs", format(t, "xfs"), newSubject(t, &fx, ""), false, false)
	there := filepath.Join(fs.dir, "snapshot.db")
	copySparse(t, fx.snapshot, there)
	s.fx.snapshot = there
	free := func() int64 {
		unix.Sync()
		var st unix.Statfs_t
		if err := unix.Statfs(fs.dir, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Bavail) * st.Bsize //nolint:gosec // a small disk
	}
	before := free()
	if e := runCeo(t, nil, s.args()...); e.code != 0 {
		t.Fatal(e)
	}
	// The WAL is 64 MB and is not shared; the rest is what the edits wrote. XFS frees the blocks of a removed file (the next
	// WAL, which etcd lays out ahead) a while after the removal.
	const wal = 64 << 20
	etcdtest.Eventually(t, "a restore that shares the blocks of its source", func() (bool, string) {
		took := before - free() - wal
		return took <= fx.size/4, fmt.Sprintf("%d bytes beside the WAL, for a database of %d", took, fx.size)
	})
	if err := os.Remove(there); err != nil {
		t.Fatal(err)
	}
	if o, err := s.look(t.Context(), ""); err != nil || o != whole {
		t.Fatalf("%s, %v", o, err)
	}
	s.serves(t)
}
