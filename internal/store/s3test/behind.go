package s3test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Client talks to the server past internal/store: for a test to make what it needs and to see what was left behind.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: "us-east-1", UsePathStyle: true, HTTPClient: s.client,
		Credentials: credentials.NewStaticCredentialsProvider(s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey, ""),
	})
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
