//go:build !gcs

package store

import (
	"context"
	"fmt"
)

// openGoogle is left out of the ordinary binary: Google's library takes 18 MiB of an idle agent's memory (gRPC's xDS
// and its protocol files register themselves at start, whether a gs:// store is used or not) and 20 MiB of the binary.
// The same buckets can be had through S3's protocol, which Google serves.
func openGoogle(_ context.Context, at place, _ Config) (Store, error) {
	return nil, fmt.Errorf("this ceo was built without gs://; write s3://%s/%s?endpoint=https://storage.googleapis.com and put an HMAC key of a "+
		"service account (Cloud Storage, Settings, Interoperability) into accessKeyID and secretAccessKey, or build with -tags gcs", at.bucket, at.prefix)
}
