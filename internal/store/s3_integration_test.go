//go:build integration

package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/s3test"
	"clusteretcd.io/ceo/internal/store/storetest"
)

func openConfig(t *testing.T, cfg store.Config) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func bucketOf(cfg store.Config) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(cfg.URL, "s3://"), "?")
	name, _, _ = strings.Cut(name, "/")
	return name
}

// unfinished fails unless no part of an upload is left in the bucket: nobody would see it, and it is paid for.
func noneUnfinished(t *testing.T, s *s3test.Server, cfg store.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s3test.WaitFor) // the test's own has ended in a cleanup
	defer cancel()
	left, err := s.Unfinished(ctx, bucketOf(cfg))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("uploads left behind: %q", left)
	}
}

// With no more than what docs/stores.md says the key needs.
var (
	onBucket  = []string{"s3:ListBucket"}
	onObjects = []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
)

func TestS3Conforms(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	user, err := server.AddUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	storetest.Conformance(t, func(t *testing.T) store.Store {
		cfg := server.Config(t)
		// Before the store is closed.
		t.Cleanup(func() { noneUnfinished(t, server, cfg) })
		if err := server.Grant(t.Context(), user, bucketOf(cfg), "a/prefix/", onBucket, onObjects); err != nil {
			t.Fatal(err)
		}
		cfg.URL, cfg.Credentials = strings.Replace(cfg.URL, "?", "/a/prefix?", 1), user
		return openConfig(t, cfg)
	})
}

// Each of the permissions is needed, so that the list of them proves something; and the lack of one is no empty store.
func TestS3MissingPermissions(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	cfg := server.Config(t)
	root := openConfig(t, cfg)
	user, err := server.AddUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Credentials = user
	s := openConfig(t, cfg)
	for lacking, do := range map[string]func() error{
		"s3:ListBucket":   func() error { _, err := storetest.Keys(t.Context(), s, ""); return err },
		"s3:GetObject":    func() error { _, err := storetest.Get(t.Context(), s, "a"); return err },
		"s3:PutObject":    func() error { return storetest.Put(t.Context(), s, "b", nil) },
		"s3:DeleteObject": func() error { return s.Delete(t.Context(), "a") },
		"s3:AbortMultipartUpload": func() error {
			w, err := s.Create(t.Context(), "c")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, 17<<20)); err != nil {
				t.Fatal(err)
			}
			return w.Abort()
		},
	} {
		if err := storetest.Put(t.Context(), root, "a", []byte("1")); err != nil {
			t.Fatal(err)
		}
		without := func(all []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a == lacking })
		}
		// A statement has an action at least.
		if err := server.Grant(t.Context(), user, bucketOf(cfg), "", append(without(onBucket), "s3:GetBucketLocation"), without(onObjects)); err != nil {
			t.Fatal(err)
		}
		if err := do(); !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "may list, read, write and delete") {
			t.Errorf("without %s: %v", lacking, err)
		}
	}
}

// A private CA, given in the credentials, and no other.
func TestS3OverTLS(t *testing.T) {
	server := s3test.Start(t, s3test.Options{TLS: true})
	cfg := server.Config(t)
	s := openConfig(t, cfg)
	data := storetest.Bytes(20<<20, 1)
	if err := storetest.Put(t.Context(), s, "a", data); err != nil {
		t.Fatal(err)
	}
	if got, err := storetest.Get(t.Context(), s, "a"); err != nil || string(got) != string(data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	noneUnfinished(t, server, cfg)

	t.Setenv("AWS_CA_BUNDLE", "")
	cfg.Credentials.CA = ""
	_, err := openConfig(t, cfg).Stat(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "certificate") || !strings.Contains(err.Error(), `"ca"`) {
		t.Errorf("a certificate that nobody vouches for: %v; want it to say where to put the CA", err)
	}
	other := s3test.Start(t, s3test.Options{TLS: true})
	cfg.Credentials.CA = other.Credentials.CA
	if _, err := openConfig(t, cfg).Stat(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another's CA: %v", err)
	}
}

// The machine's AWS configuration may name CAs; the credentials' own go before them.
func TestS3WithAWSBundle(t *testing.T) {
	server := s3test.Start(t, s3test.Options{TLS: true})
	cfg := server.Config(t)
	bundle := t.TempDir() + "/ca.pem"
	writeFile(t, bundle, cfg.Credentials.CA)
	t.Setenv("AWS_CA_BUNDLE", bundle)
	with := openConfig(t, cfg)
	if err := storetest.Put(t.Context(), with, "a", nil); err != nil {
		t.Fatal(err)
	}
	cfg.Credentials.CA = ""
	if _, err := openConfig(t, cfg).Stat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

// every does what a store can do to a key and gives the errors by name.
func every(t *testing.T, s store.Store, size int) map[string]error {
	t.Helper()
	_, stat := s.Stat(t.Context(), "a")
	_, get := storetest.Get(t.Context(), s, "a")
	_, list := storetest.Keys(t.Context(), s, "")
	return map[string]error{
		"Stat": stat, "Range": get, "List": list,
		"small":  storetest.Put(t.Context(), s, "b", storetest.Bytes(100, 1)),
		"large":  storetest.Put(t.Context(), s, "c", storetest.Bytes(size, 1)),
		"Delete": s.Delete(t.Context(), "a"),
	}
}

// P29: wrong credentials say so, and are not in what is said.
func TestS3WrongCredentials(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	cfg := server.Config(t)
	if err := storetest.Put(t.Context(), openConfig(t, cfg), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(*store.Credentials)
		want   string
	}{
		{"another key", func(c *store.Credentials) { c.AccessKeyID = "AKIANOBODY" }, "accessKeyID"},
		{"another secret", func(c *store.Credentials) { c.SecretAccessKey = "hunter2hunter2" }, "secret does not fit"},
	} {
		t.Run(row.name, func(t *testing.T) {
			wrong := cfg
			row.change(&wrong.Credentials)
			for op, err := range every(t, openConfig(t, wrong), 20<<20) {
				if !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "credentials file") || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("%s: %v; want %q", op, err, row.want)
				}
				for _, secret := range []string{wrong.Credentials.AccessKeyID, wrong.Credentials.SecretAccessKey} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s shows %s", op, secret)
					}
				}
			}
		})
	}
	if got, err := storetest.Get(t.Context(), openConfig(t, cfg), "a"); err != nil || string(got) != "1" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A wrong URL is not "there is no backup", nor is a server that is down.
func TestS3MissingBucket(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	cfg := store.Config{URL: server.URL("no-such-bucket"), Credentials: server.Credentials}
	for op, err := range every(t, openConfig(t, cfg), 20<<20) {
		if err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "no such bucket") {
			t.Errorf("%s: %v", op, err)
		}
	}
	cfg = server.Config(t)
	s := openConfig(t, cfg)
	server.Close()
	for op, err := range asks(t, s) {
		if err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s with the server down: %v", op, err)
		}
	}
}

func TestS3PlainToTLS(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	cfg := server.Config(t)
	cfg.URL = strings.Replace(cfg.URL, "http://", "https://", 1)
	if _, err := openConfig(t, cfg).Stat(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v", err)
	}
}

// Memory does not grow with the object: an upload has three buffers, each of a part.
func TestS3PartBuffers(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	cfg := server.Config(t)
	s := openConfig(t, cfg)
	w, err := s.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	chunk := storetest.Bytes(1<<20, 1)
	for range 100 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.PartBuffers(w); got > 3 {
		t.Errorf("%d buffers of a part each, want 3 at most", got)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	noneUnfinished(t, server, cfg)
}
