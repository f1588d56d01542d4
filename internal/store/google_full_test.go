//go:build gcs

package store

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/storage"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

// No Google server runs here: what a transfer does is not tested.
func TestGoogleErrors(t *testing.T) {
	b := &bucket{status: googleStatus}
	reason := func(status int, reason, message string) error {
		return fmt.Errorf("x: %w", &googleapi.Error{Code: status, Message: message, Errors: []googleapi.ErrorItem{{Reason: reason}}})
	}
	for _, row := range []struct{ err, want error }{
		{storage.ErrObjectNotExist, ErrNotFound},
		{reason(404, "notFound", "No such object: b/a"), ErrNotFound},
		{reason(404, "notFound", "The specified bucket does not exist."), errNoBucket},
		{&googleapi.Error{Code: 404, Body: "<Error><Code>NoSuchBucket</Code></Error>"}, errNoBucket},
		{&googleapi.Error{Code: 404, Body: "default backend"}, nil},
		{reason(403, "forbidden", ""), ErrDenied},
		{reason(401, "authError", ""), ErrDenied},
		{reason(503, "backendError", ""), nil},
		{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 400}, ErrorCode: "invalid_grant"}, ErrDenied},
		{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 500}}, nil},
		{errors.New("no such host"), nil},
	} {
		if got := b.kind(row.err); !errors.Is(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("%v: %v, want %v", row.err, got, row.want)
		}
	}
}

func TestGoogleCredentials(t *testing.T) {
	for _, text := range []string{"hunter2hunter2", `{"type":"authorized_user","refresh_token":"hunter2hunter2"}`, `{"type":"service_account","private_key":7,"x":"hunter2hunter2"}`} {
		_, err := Open(t.Context(), Config{URL: "gs://b", Credentials: Credentials{GoogleJSON: text}})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
