package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/blob/s3blob"
)

func s3Client(ctx context.Context, at place, cfg Config) (*s3.Client, error) {
	sdk, err := s3Config(ctx, at, cfg.Credentials, cfg.StallLimit)
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(sdk, func(o *s3.Options) {
		// AWS finds a bucket by its host name, others by the path.
		o.UsePathStyle = at.endpoint != ""
		if at.endpoint == "" {
			// The library takes one from the machine's environment (AWS_ENDPOINT_URL), encrypted or not. Where backups go
			// says the store's URL alone.
			o.BaseEndpoint = nil
		}
		o.DisableLogOutputChecksumValidationSkipped = true
		if at.endpoint != "" {
			o.APIOptions = append(o.APIOptions, withoutAcceptEncoding)
		}
	}), nil
}

// withoutAcceptEncoding takes the header away before the request is signed. The library signs it, and Google's front end
// changes it on its way, so that the signature is refused (aws-sdk-go-v2 issue 1816). What is asked for comes back as it
// was stored either way.
func withoutAcceptEncoding(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("WithoutAcceptEncoding", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			r.Header.Del("Accept-Encoding")
		}
		return next.HandleFinalize(ctx, in)
	}), "Signing", middleware.Before)
}

func openS3(ctx context.Context, at place, cfg Config) (*bucket, error) {
	client, err := s3Client(ctx, at, cfg)
	if err != nil {
		return nil, err
	}
	blobs, err := s3blob.OpenBucket(ctx, client, at.bucket, &s3blob.Options{RequestChecksumCalculation: client.Options().RequestChecksumCalculation})
	if err != nil {
		return nil, err
	}
	b := &bucket{at: at, blobs: blobs, secrets: secretsOf(cfg.Credentials), limit: cfg.StallLimit, status: s3Status}
	b.create = func(ctx context.Context, name string) Writer {
		return &s3Upload{client: client, ctx: ctx, bucket: at.bucket, name: name, limit: cfg.StallLimit, slots: make(chan struct{}, partsAtOnce)}
	}
	// gocloud.dev's asks for the object first, and takes a refusal without a body for "not there".
	b.remove = func(ctx context.Context, name string) error {
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &at.bucket, Key: &name})
		return err
	}
	b.reachable = func(ctx context.Context) error {
		_, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &at.bucket, Prefix: &at.prefix, MaxKeys: aws.Int32(1)})
		return err
	}
	return b, nil
}

func s3Config(ctx context.Context, at place, c Credentials, limit time.Duration) (aws.Config, error) {
	roots, err := rootsOf(c.CA)
	if err != nil {
		return aws.Config{}, err
	}
	// The library's own, for where it gets credentials from if there are none: it wants no other client where the machine
	// names CAs in AWS_CA_BUNDLE or its configuration.
	own := awshttp.NewBuildableClient().WithTimeout(limit)
	opts := []func(*config.LoadOptions) error{
		config.WithHTTPClient(own),
		// It logs warnings on stderr.
		config.WithLogger(logging.Nop{}),
	}
	switch {
	case c.AccessKeyID != "" && c.SecretAccessKey != "":
		opts = append(opts, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	case c.AccessKeyID != "" || c.SecretAccessKey != "" || c.SessionToken != "":
		return aws.Config{}, errors.New("the credentials need both accessKeyID and secretAccessKey, or neither")
	}
	if at.region != "" {
		opts = append(opts, config.WithRegion(at.region))
	}
	if at.endpoint != "" {
		opts = append(opts,
			config.WithBaseEndpoint(at.endpoint),
			// Not every server knows AWS's newer checksums. What is sent is signed with its SHA-256 instead.
			config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
			config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired))
	}
	sdk, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("the AWS configuration of this machine: %w", err)
	}
	if used, ok := sdk.HTTPClient.(*awshttp.BuildableClient); ok && roots == nil {
		if conf := used.GetTransport().TLSClientConfig; conf != nil {
			roots = conf.RootCAs
		}
	}
	sdk.HTTPClient = clientOf(roots, limit)
	if sdk.Region == "" {
		if at.endpoint == "" {
			return aws.Config{}, errors.New("the S3 region is not known; write s3://bucket?region=eu-central-1")
		}
		// Servers of one place call it so.
		sdk.Region = "us-east-1"
	}
	return sdk, nil
}

func s3Status(err error) (status int, code string) {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	return status, code
}
