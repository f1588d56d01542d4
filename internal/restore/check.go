package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"clusteretcd.io/ceo/internal/snapshot"
)

// checker stands in for the one that checks while bytes pass.
type checker struct {
	ctx  context.Context
	path string
	sum  hash.Hash
	skip bool
}

func newChecker(ctx context.Context, path string, skipHash bool) *checker {
	return &checker{ctx: ctx, path: path, sum: sha256.New(), skip: skipHash}
}

func (c *checker) Write(b []byte) (int, error) { return c.sum.Write(b) }

func (c *checker) Finish() (snapshot.Info, error) {
	info, err := snapshot.Verify(c.ctx, c.path, snapshot.VerifyOptions{SkipHash: c.skip})
	if err == nil && info.SHA256 != hex.EncodeToString(c.sum.Sum(nil)) {
		err = snapshot.ErrHashMismatch
	}
	return info, err
}

func (c *checker) Close() {}
