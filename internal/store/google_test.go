//go:build !gcs

package store

import (
	"strings"
	"testing"
)

// The ordinary binary says how to get at the same bucket.
func TestGoogleIsLeftOut(t *testing.T) {
	_, err := Open(t.Context(), Config{URL: "gs://bucket/prefix"})
	if err == nil || !strings.Contains(err.Error(), "s3://bucket/prefix") || !strings.Contains(err.Error(), "-tags gcs") {
		t.Fatal(err)
	}
	// What it tells one to write can be read.
	if _, err := parse("s3://bucket/prefix/?endpoint=https://storage.googleapis.com"); err != nil {
		t.Fatal(err)
	}
}
