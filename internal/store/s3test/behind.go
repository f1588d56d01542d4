package s3test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"clusteretcd.io/ceo/internal/store"
)

// Client talks to the server past internal/store: for a test to make what it needs and to see what was left behind.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: "us-east-1", UsePathStyle: true, HTTPClient: s.client,
		Credentials: credentials.NewStaticCredentialsProvider(s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey, ""),
	})
}

// AddUser makes one who may do nothing yet.
func (s *Server) AddUser(ctx context.Context) (store.Credentials, error) {
	user := s.Credentials
	user.AccessKeyID, user.SecretAccessKey = "user-"+rand.Text(), rand.Text()+rand.Text()
	cmd := exec.CommandContext(ctx, s.cmd.Path, "admin", "--allow-insecure", "--endpoint-url="+s.Endpoint, //nolint:gosec // the tests' own server
		"create-user", "--role=user", "--access="+user.AccessKeyID, "--secret="+user.SecretAccessKey)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "ADMIN_ACCESS_KEY=" + s.Credentials.AccessKeyID, "ADMIN_SECRET_KEY=" + s.Credentials.SecretAccessKey,
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return store.Credentials{}, fmt.Errorf("s3test: make a user: %w: %s", err, out)
	}
	return user, nil
}

// Grant lets a user do this with a bucket (onBucket) and with the objects below a prefix (onObjects), and nothing else:
// it replaces the bucket's policy.
func (s *Server) Grant(ctx context.Context, user store.Credentials, bucket, prefix string, onBucket, onObjects []string) error {
	type statement struct {
		Effect    string
		Principal map[string]string
		Action    []string
		Resource  string
	}
	who := map[string]string{"AWS": user.AccessKeyID}
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []statement{
		{"Allow", who, onBucket, "arn:aws:s3:::" + bucket},
		{"Allow", who, onObjects, "arn:aws:s3:::" + bucket + "/" + prefix + "*"},
	}})
	if err != nil {
		return err
	}
	_, err = s.Client().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(string(policy))})
	if err != nil {
		return fmt.Errorf("s3test: policy of %s: %w", bucket, err)
	}
	return nil
}

// MakeBucket makes an empty one.
func (s *Server) MakeBucket(ctx context.Context, bucket string) error {
	if _, err := s.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return fmt.Errorf("s3test: make bucket %s: %w", bucket, err)
	}
	return nil
}

// Unfinished lists the uploads of a bucket that were begun and neither completed nor aborted, by the name of the object.
func (s *Server) Unfinished(ctx context.Context, bucket string) ([]string, error) {
	out, err := s.Client().ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		return nil, fmt.Errorf("s3test: unfinished uploads of %s: %w", bucket, err)
	}
	var names []string
	for _, u := range out.Uploads {
		names = append(names, aws.ToString(u.Key))
	}
	return names, nil
}
