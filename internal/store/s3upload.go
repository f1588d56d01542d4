package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// smallPart is what a small object gets for a buffer: a backup has many small files.
	smallPart = 256 << 10
	// maxParts is S3's.
	maxParts = 10_000
	// assembly is how fast a server is trusted to put parts together, bytes a second. AWS sends spaces meanwhile, others
	// nothing at all.
	assembly = 20 << 20
)

// s3Upload sends an object in parts as they fill, at most partsAtOnce at a time; one of less than a part in one request.
type s3Upload struct {
	client       *s3.Client
	ctx          context.Context //nolint:containedctx // a writer lives as long as the operation that made it
	bucket, name string
	limit        time.Duration
	slots        chan struct{} // holds one element for each part under way

	buf  []byte // the part that fills
	id   *string
	next int32 // parts begun
	size int64

	wg    sync.WaitGroup
	mu    sync.Mutex // guards the rest
	sent  []types.CompletedPart
	spare [][]byte
	err   error
}

func (u *s3Upload) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		if err := u.failed(); err != nil {
			return n, err
		}
		u.room(len(p))
		k := min(len(p), cap(u.buf)-len(u.buf))
		u.buf = append(u.buf, p[:k]...)
		p, n, u.size = p[k:], n+k, u.size+int64(k)
		if len(u.buf) == partSize {
			if err := u.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// room makes sure that the buffer takes a byte at least.
func (u *s3Upload) room(want int) {
	switch {
	case len(u.buf) < cap(u.buf):
	case cap(u.buf) == 0 && u.id == nil && want <= smallPart:
		u.buf = make([]byte, 0, smallPart)
	case cap(u.buf) == 0:
		u.buf = u.take()
	default:
		u.buf = append(u.take(), u.buf...)
	}
}

func (u *s3Upload) take() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := len(u.spare); n > 0 {
		b := u.spare[n-1]
		u.spare = u.spare[:n-1]
		return b[:0]
	}
	return make([]byte, 0, partSize)
}

func (u *s3Upload) failed() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// send uploads the full buffer in the background, once there is a place.
func (u *s3Upload) send() error {
	if u.id == nil {
		out, err := u.client.CreateMultipartUpload(u.ctx, &s3.CreateMultipartUploadInput{
			Bucket: &u.bucket, Key: &u.name, ContentType: aws.String("application/octet-stream"),
			ChecksumAlgorithm: u.checksum(),
		})
		if err != nil {
			return err
		}
		u.id = out.UploadId
	}
	if u.next == maxParts {
		return fmt.Errorf("the object has more than %d parts of %d bytes, S3's limit", maxParts, partSize)
	}
	select {
	case u.slots <- struct{}{}:
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
	u.next++
	number, data := u.next, u.buf
	u.buf = nil
	u.wg.Go(func() {
		defer func() { <-u.slots }()
		out, err := u.client.UploadPart(u.ctx, &s3.UploadPartInput{
			Bucket: &u.bucket, Key: &u.name, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(data),
			ChecksumAlgorithm: u.checksum(),
		})
		u.mu.Lock()
		defer u.mu.Unlock()
		u.spare = append(u.spare, data)
		if err != nil {
			// The first is the cause of those that follow.
			u.err = cmp.Or(u.err, fmt.Errorf("part %d: %w", number, err))
			return
		}
		u.sent = append(u.sent, types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumCRC32: out.ChecksumCRC32})
	})
	return nil
}

// checksum of a part; none where a server may not know it (see s3Config).
func (u *s3Upload) checksum() types.ChecksumAlgorithm {
	if u.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired {
		return ""
	}
	return types.ChecksumAlgorithmCrc32
}

func (u *s3Upload) Commit() error {
	if u.id == nil {
		// All in one request has no time in which the server is silent, but for its own flush.
		_, err := u.client.PutObject(u.ctx, &s3.PutObjectInput{
			Bucket: &u.bucket, Key: &u.name, Body: bytes.NewReader(u.buf), ContentType: aws.String("application/octet-stream"),
			ContentLength: aws.Int64(int64(len(u.buf))), ChecksumAlgorithm: u.checksum(),
		})
		return err
	}
	if len(u.buf) > 0 {
		if err := u.send(); err != nil {
			return err
		}
	}
	u.wg.Wait()
	if err := u.failed(); err != nil {
		return err
	}
	slices.SortFunc(u.sent, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	ctx := withPatience(u.ctx, time.Duration(u.size/assembly)*time.Second)
	_, err := u.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.name, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.sent},
	})
	if err != nil {
		return fmt.Errorf("put %d parts together: %w", len(u.sent), err)
	}
	return nil
}

// Abort is called with the context cancelled already. The parts in the store are removed under a new one: they would
// stay, invisible and paid for, until a life-cycle rule of the bucket removes them.
func (u *s3Upload) Abort() error {
	u.wg.Wait()
	u.buf, u.spare = nil, nil
	if u.id == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(u.ctx), u.limit, &stallError{limit: u.limit})
	defer cancel()
	_, err := u.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: &u.name, UploadId: u.id})
	if status, _ := s3Status(err); err == nil || status == http.StatusNotFound {
		return nil
	}
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return fmt.Errorf("the parts of the unfinished upload are still in the store, for its life-cycle rule to remove: %w", err)
}
