package store

import (
	"context"
	"fmt"
	"time"
)

const defaultStallLimit = 30 * time.Second

// Open opens the store that the configuration names. It makes no folder and, with credentials given, no network
// request: a wrong bucket or key shows with the first operation. Every operation is bounded: a transfer that moves no
// byte for the stall limit, and any other request that is not done by then, end with ErrStalled. A folder's disk that
// hangs in the kernel cannot be interrupted; that is the one exception.
//
// gs:// and azblob:// were never run against a server by the tests of this project: their URLs, options and errors are
// tested; the transfers are those of S3 for gs://, and gocloud.dev's for azblob:// (and gs:// with -tags gcs).
func Open(ctx context.Context, cfg Config) (Store, error) {
	if cfg.StallLimit == 0 {
		cfg.StallLimit = defaultStallLimit
	}
	if cfg.StallLimit < 0 {
		return nil, fmt.Errorf("open store: the stall limit %s is negative", cfg.StallLimit)
	}
	at, err := parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	var s Store
	switch at.scheme {
	case "file":
		return newFolder(at.path), nil
	case "mem":
		return newMemory(at.bucket), nil
	case "s3":
		s, err = openS3(ctx, at, cfg)
	case "azblob":
		s, err = openAzure(ctx, at, cfg)
	case "gs":
		s, err = openGoogle(ctx, at, cfg)
	}
	if err != nil {
		return nil, secretsOf(cfg.Credentials).fail("open store", "", at.String(), nil, err)
	}
	return s, nil
}
