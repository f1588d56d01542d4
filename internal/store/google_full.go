//go:build gcs

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
)

const googleScope = "https://www.googleapis.com/auth/devstorage.read_write"

// openGoogle was never run against a server by this project's tests; see Open.
func openGoogle(ctx context.Context, at place, cfg Config) (Store, error) {
	hc, err := newClient(cfg.Credentials.CA, cfg.StallLimit)
	if err != nil {
		return nil, err
	}
	tokens, err := googleTokens(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, hc), cfg.Credentials)
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(hc.Transport, tokens)
	if err != nil {
		return nil, err
	}
	blobs, err := gcsblob.OpenBucket(ctx, client, at.bucket, nil)
	if err != nil {
		return nil, err
	}
	b := &bucket{at: at, blobs: blobs, secrets: secretsOf(cfg.Credentials), limit: cfg.StallLimit, status: googleStatus}
	b.create = func(ctx context.Context, name string) Writer { return newPipeWriter(ctx, blobs, name) }
	b.remove = blobs.Delete
	return b, nil
}

func googleTokens(ctx context.Context, c Credentials) (gcp.TokenSource, error) {
	if c.GoogleJSON == "" {
		found, err := google.FindDefaultCredentials(ctx, googleScope)
		if err != nil {
			return nil, fmt.Errorf("no Google credentials; set googleJSON in the credentials file: %w", err)
		}
		return found.TokenSource, nil
	}
	var file struct {
		Type string `json:"type"`
	}
	if json.Unmarshal([]byte(c.GoogleJSON), &file) != nil || file.Type != string(google.ServiceAccount) {
		return nil, errors.New("googleJSON in the credentials file is not a service account's key file (JSON with \"type\": \"service_account\")")
	}
	found, err := google.CredentialsFromJSONWithType(ctx, []byte(c.GoogleJSON), google.ServiceAccount, googleScope)
	if err != nil {
		return nil, err
	}
	return found.TokenSource, nil
}

func googleStatus(err error) (status int, code string) {
	// The service account itself was refused, before any request to the bucket.
	var token *oauth2.RetrieveError
	if errors.As(err, &token) && token.Response != nil && token.Response.StatusCode < http.StatusInternalServerError {
		return http.StatusUnauthorized, token.ErrorCode
	}
	var answer *googleapi.Error
	answered := errors.As(err, &answer)
	switch {
	case answered && (strings.Contains(answer.Message, "bucket does not exist") || strings.Contains(answer.Body, "NoSuchBucket")):
		// Its reason is a missing object's.
		return http.StatusNotFound, "NoSuchBucket"
	case errors.Is(err, storage.ErrObjectNotExist):
		return http.StatusNotFound, "NoSuchKey"
	case !answered:
		return 0, ""
	case len(answer.Errors) > 0:
		code = answer.Errors[0].Reason
	}
	return answer.Code, code
}
