package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/store/s3test"
)

// ObjectStore is an S3 server beside the nodes, in the lab's network: what outlives a control plane.
type ObjectStore struct {
	// URL of an empty bucket, as a node's backup.yaml names it.
	URL            string
	Access, Secret string
	load           *Load
}

const (
	storeAddress = "10.78.0.1:7070" // the lab's bridge: an address of its own namespace
	storeBucket  = "backups"
)

// StartObjectStore runs one until Stop; its data is in the scratch folder.
func (c *Cluster) StartObjectStore(ctx context.Context) (*ObjectStore, error) {
	bin, err := s3test.Binary()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(c.Scratch, "s3-")
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(data, storeBucket), 0o700); err != nil {
		return nil, err
	}
	secret := make([]byte, 20)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	s := &ObjectStore{
		URL:    fmt.Sprintf("s3://%s/prod?region=us-east-1&endpoint=http://%s&insecure=true", storeBucket, storeAddress),
		Access: "ceo-e2e", Secret: hex.EncodeToString(secret),
	}
	// In the environment, where no other process's list shows it.
	s.load, err = c.start(ctx, "", "env", "ROOT_ACCESS_KEY="+s.Access, "ROOT_SECRET_KEY="+s.Secret, bin, "--quiet", "--port", storeAddress, "posix", data)
	if err != nil {
		return nil, err
	}
	if err := Until(ctx, "the S3 server to listen", time.Minute, func(ctx context.Context) error {
		select {
		case err := <-s.load.done:
			s.load.done <- err
			return fmt.Errorf("it ended: %w: %s", err, s.load.err.String())
		default:
		}
		host, port, err := net.SplitHostPort(storeAddress)
		if err != nil {
			return err
		}
		_, err = c.On(ctx, "cp-1", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%s", host, port))
		return err
	}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends it; nobody answers at its address then.
func (s *ObjectStore) Stop() error { return s.load.Stop() }
