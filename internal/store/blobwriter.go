package store

import (
	"context"

	"gocloud.dev/blob"
)

// partSize and partsAtOnce bound an upload's memory: one part that fills and two under way, 48 MiB at most. S3 takes
// 10,000 parts of an object, so 156 GiB.
const (
	partSize    = 16 << 20
	partsAtOnce = 2
)

// blobWriter is an upload by gocloud.dev: nothing shows before the close, and a cancelled context makes the close
// discard. S3 has its own (s3upload.go), because gocloud.dev's leaves the parts of an upload that was cancelled in the
// store for ever.
type blobWriter struct {
	w   *blob.Writer
	err error
}

func newBlobWriter(ctx context.Context, b *blob.Bucket, name string) *blobWriter {
	w, err := b.NewWriter(ctx, name, &blob.WriterOptions{
		BufferSize: partSize, MaxConcurrency: partsAtOnce, ContentType: "application/octet-stream",
	})
	return &blobWriter{w: w, err: err}
}

func (b *blobWriter) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.w.Write(p)
}

func (b *blobWriter) Commit() error {
	if b.err != nil {
		return b.err
	}
	w := b.w
	b.w = nil
	return w.Close()
}

// Abort is called with the context cancelled already.
func (b *blobWriter) Abort() error {
	if b.w != nil {
		_ = b.w.Close() // it fails with the context's error: that is the aborting
	}
	return nil
}
