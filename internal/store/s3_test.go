package store

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// alone takes the AWS configuration of this machine away.
func alone(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestS3Configuration(t *testing.T) {
	alone(t)
	good := Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hunter2hunter2"}
	for _, row := range []struct {
		name, url string
		c         Credentials
		want      string // in the error; empty: none
	}{
		{"AWS with a region", "s3://b?region=eu-central-1", good, ""},
		{"AWS without a region", "s3://b", good, "write s3://bucket?region="},
		{"another server without a region", "s3://b?endpoint=https://127.0.0.1:1", good, ""},
		{"a key without a secret", "s3://b?region=x", Credentials{AccessKeyID: "AKIA"}, "both accessKeyID and secretAccessKey"},
		{"a secret without a key", "s3://b?region=x", Credentials{SecretAccessKey: "hunter2hunter2"}, "both accessKeyID and secretAccessKey"},
		{"a token alone", "s3://b?region=x", Credentials{SessionToken: "hunter2hunter2"}, "both accessKeyID and secretAccessKey"},
		{"a CA that is none", "s3://b?region=x", Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hunter2hunter2", CA: "hunter2"}, `"ca" of the credentials holds no PEM`},
	} {
		s, err := Open(t.Context(), Config{URL: row.url, Credentials: row.c})
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
				continue
			}
			if s.Local() || s.URL() != row.url {
				t.Errorf("%s: %q", row.name, s.URL())
			}
			_ = s.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q", row.name, err, row.want)
		}
	}
}

// Where backups go says the store's URL alone: not a variable, which may lead to a host that is not encrypted.
func TestS3IgnoresTheMachinesEndpoint(t *testing.T) {
	alone(t)
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	at, err := parse("s3://b?region=eu-central-1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := s3Client(t.Context(), at, Config{StallLimit: time.Second, Credentials: Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	if base := client.Options().BaseEndpoint; base != nil {
		t.Fatalf("requests would go to %s", *base)
	}
	at.endpoint = "https://127.0.0.1:2"
	if client, err = s3Client(t.Context(), at, Config{StallLimit: time.Second, Credentials: Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}}); err != nil {
		t.Fatal(err)
	}
	if base := client.Options().BaseEndpoint; base == nil || *base != at.endpoint {
		t.Fatalf("the endpoint of the URL is not used: %v", base)
	}
}

// "There is no backup" must not be concluded from anything but the store's own word for it.
func TestOnlyTheStoreSaysNotFound(t *testing.T) {
	b := &bucket{status: func(err error) (int, string) {
		var a answer
		errors.As(err, &a)
		return a.status, a.code
	}}
	for _, row := range []struct {
		err      error
		notFound bool
	}{
		{answer{404, "NoSuchKey"}, true},
		{answer{404, "NotFound"}, true},
		{answer{404, "BlobNotFound"}, true},
		{answer{404, ""}, false},                   // a load balancer's page
		{answer{404, "XAdminUserNotFound"}, false}, // a user that the server does not know
		{answer{404, "NoSuchBucket"}, false},
		{answer{404, "ContainerNotFound"}, false},
		{answer{404, "NoSuchUpload"}, false},
		{answer{403, "AccessDenied"}, false},
		{&net.DNSError{Err: "no such host", Name: "store.example", IsNotFound: true}, false},
		{errors.New("dial tcp: lookup store.example: no such host"), false},
		{context.DeadlineExceeded, false},
	} {
		if got := errors.Is(b.kind(row.err), ErrNotFound); got != row.notFound {
			t.Errorf("%v: %v", row.err, got)
		}
	}
}

type answer struct {
	status int
	code   string
}

func (a answer) Error() string { return a.code }

// Google's front end changes this header on its way to who checks the signature.
func TestS3DoesNotSignAcceptEncoding(t *testing.T) {
	alone(t)
	seen := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header.Get("Authorization") + " " + r.Header.Get("Accept-Encoding"):
		default:
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	s, err := Open(t.Context(), Config{
		URL:         "s3://bucket?endpoint=" + server.URL,
		Credentials: Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hunter2hunter2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if got := <-seen; !strings.Contains(got, "SignedHeaders=") || strings.Contains(got, "accept-encoding") {
		t.Fatalf("signed: %s", got)
	}
}
