package restore

import (
	"context"
	"fmt"

	"clusteretcd.io/ceo/internal/snapshot"
)

// preflight looks at what can be known of a source before it is read, and gives its size, 0 if unknown. accept refuses
// by what the snapshot says of itself.
func preflight(ctx context.Context, src Source, skipHash bool, accept func(snapshot.Info) error) (int64, error) {
	if err := src.check(); err != nil {
		return 0, err
	}
	if src.Path == "" {
		return src.Size, accept(snapshot.Info{Revision: src.Revision, StorageVersion: src.StorageVersion})
	}
	info, err := snapshot.Inspect(src.Path)
	if err == nil && !info.HashPresent && !skipHash {
		err = fmt.Errorf("snapshot %s: %w: %s accepts it as it is", src.Path, snapshot.ErrNoHash, snapshot.SkipHashFlag)
	}
	if err == nil {
		return info.Size, accept(info)
	}
	// Its first pages are bad: a whole read can say better why, and writes nothing.
	if _, whole := snapshot.Verify(ctx, src.Path, snapshot.VerifyOptions{SkipHash: skipHash}); whole != nil {
		return 0, whole
	}
	return 0, err
}
