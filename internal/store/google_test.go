//go:build !gcs

package store

import (
	"strings"
	"testing"
)

// The ordinary binary reaches Google over S3's protocol, and says what key that takes.
func TestGoogleTakesAnHMACKey(t *testing.T) {
	alone(t)
	for _, row := range []struct {
		name string
		c    Credentials
		want string // in the error; empty: none
	}{
		{"an HMAC key", Credentials{AccessKeyID: "GOOG1E", SecretAccessKey: "hunter2hunter2"}, ""},
		{"nothing", Credentials{}, "HMAC key"},
		{"a key file", Credentials{GoogleJSON: `{"hunter2": true}`}, "-tags gcs"},
		{"half a key", Credentials{AccessKeyID: "GOOG1E"}, "both accessKeyID and secretAccessKey"},
	} {
		s, err := Open(t.Context(), Config{URL: "gs://bucket/prefix", Credentials: row.c})
		if row.want == "" {
			if err != nil || s.URL() != "gs://bucket/prefix" || s.Local() {
				t.Errorf("%s: %v, %v", row.name, s, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q", row.name, err, row.want)
		}
	}
}
