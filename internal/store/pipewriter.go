package store

import (
	"cmp"
	"context"
	"io"

	"gocloud.dev/blob"
)

// partSize and partsAtOnce bound an upload's memory: one part that fills and two under way, 48 MiB at most. S3 takes
// 10,000 parts of an object, so 156 GiB.
const (
	partSize    = 16 << 20
	partsAtOnce = 2
)

// pipeWriter is an upload by gocloud.dev that reads from a pipe: its Azure writer, written to, ends the process with a nil
// pointer where an upload is refused. S3 has its own (s3upload.go), because gocloud.dev's leaves the parts of an upload
// that was cancelled in the store for ever.
type pipeWriter struct {
	pipe *io.PipeWriter
	done chan struct{}
	err  error // once done
}

func newPipeWriter(ctx context.Context, b *blob.Bucket, name string) *pipeWriter {
	r, w := io.Pipe()
	p := &pipeWriter{pipe: w, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = b.Upload(ctx, name, r, &blob.WriterOptions{
			BufferSize: partSize, MaxConcurrency: partsAtOnce, ContentType: "application/octet-stream",
		})
		// Whoever still writes learns why nobody reads.
		_ = r.CloseWithError(cmp.Or(p.err, errEnded))
	}()
	return p
}

func (p *pipeWriter) Write(b []byte) (int, error) { return p.pipe.Write(b) }

func (p *pipeWriter) Commit() error {
	_ = p.pipe.Close()
	<-p.done
	return p.err
}

// Abort is called with the context cancelled already, so that what was read so far is not taken for the whole. Blocks
// that Azure has and that no list names it removes after a week.
func (p *pipeWriter) Abort() error {
	_ = p.pipe.CloseWithError(context.Canceled)
	<-p.done
	return nil
}
