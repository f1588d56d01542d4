//go:build !gcs

package store

import (
	"context"
	"errors"
)

// googleEndpoint is where Google speaks S3.
const googleEndpoint = "https://storage.googleapis.com"

// openGoogle reaches Google's buckets over the S3 protocol that Google serves, with an HMAC key. Google's own library is
// left out of the ordinary binary: it takes 18 MiB of an idle agent's memory (gRPC's xDS and its protocol files register
// themselves at start, whether a gs:// store is used or not) and 20 MiB of the binary.
//
// It was never run against Google by this project's tests; see Open.
func openGoogle(ctx context.Context, at place, cfg Config) (Store, error) {
	switch {
	case cfg.Credentials.AccessKeyID == "" && cfg.Credentials.GoogleJSON != "":
		return nil, errors.New("this ceo reads gs:// with an HMAC key, not with googleJSON: put one of the service account " +
			"(Cloud Storage, Settings, Interoperability) into accessKeyID and secretAccessKey, or build ceo with -tags gcs")
	case cfg.Credentials.AccessKeyID == "":
		return nil, errors.New("gs:// needs an HMAC key of a service account (Cloud Storage, Settings, Interoperability) in accessKeyID " +
			"and secretAccessKey of the credentials file")
	}
	over := at
	over.endpoint, over.region = googleEndpoint, "auto"
	s, err := openS3(ctx, over, cfg)
	if err != nil {
		return nil, err
	}
	s.at = at // as it was named
	return s, nil
}
