//go:build integration

package store_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/s3test"
	"clusteretcd.io/ceo/internal/store/storetest"
)

// troubled is a store over a proxy, with the object "a" in it. What is to stall has a limit that is waited for; what is
// not has one that a busy machine does not reach.
func troubled(t *testing.T, server *s3test.Server, size int, want error) (*s3test.Proxy, store.Config, store.Store, []byte) {
	t.Helper()
	direct := server.Config(t)
	data := storetest.Bytes(size, 1)
	if err := storetest.Put(t.Context(), openConfig(t, direct), "a", data); err != nil {
		t.Fatal(err)
	}
	p := s3test.NewProxy(t, server)
	cfg := p.Config(direct)
	if errors.Is(want, store.ErrStalled) {
		cfg.StallLimit = 2 * time.Second
	}
	return p, direct, openConfig(t, cfg), data
}

// A store that fails mid-way, returns short, stalls or lies: each its own error, and never fewer bytes without one.
func TestS3BrokenReads(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	get := s3test.Method(http.MethodGet)
	const size = 3 << 20
	for _, row := range []struct {
		name    string
		trouble s3test.Trouble
		length  int64
		want    error
	}{
		{"cut before the answer", s3test.CutResponse(0), -1, nil},
		{"cut in the middle", s3test.CutResponse(size / 2), -1, store.ErrLength},
		{"cut before the last byte", s3test.CutResponse(size - 1), -1, store.ErrLength},
		{"ended in the middle, no length given", s3test.EndResponse(size / 2), size, store.ErrLength},
		{"no length given", s3test.EndResponse(size), -1, store.ErrLength},
		{"more announced than comes", s3test.SayLength(1000), -1, store.ErrLength},
		{"fewer announced than asked for", s3test.SayLength(-1000), size, store.ErrLength},
		{"stalled before the first byte", s3test.StallResponse(0), -1, store.ErrStalled},
		{"stalled in the middle", s3test.StallResponse(size / 2), -1, store.ErrStalled},
		{"never answered", s3test.Silence(), -1, store.ErrStalled},
		{"a server in trouble", s3test.Refuse(http.StatusInternalServerError, "InternalError"), -1, nil},
		{"full", s3test.Refuse(http.StatusInsufficientStorage, "InsufficientStorage"), -1, store.ErrFull},
		{"refused", s3test.Refuse(http.StatusForbidden, "AccessDenied"), -1, store.ErrDenied},
		{"the clock is off", s3test.Refuse(http.StatusForbidden, "RequestTimeTooSkewed"), -1, store.ErrDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, direct, s, _ := troubled(t, server, size, row.want)
			p.Set(row.trouble.For(get))
			got, err := readRange(t, s, row.length)
			if err == nil || errors.Is(err, store.ErrNotFound) || row.want != nil && !errors.Is(err, row.want) {
				t.Fatalf("%d bytes, %v; want %v", got, err, row.want)
			}
			if p.Met() == 0 {
				t.Fatal("nothing was broken, the test proves nothing")
			}
			if got, err := readRange(t, openConfig(t, direct), -1); err != nil || got != size {
				t.Fatal(err)
			}
		})
	}
}

// An upload that fails leaves neither an object nor parts of one, and what was there before stays.
func TestS3BrokenWrites(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	begin := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploads") }
	part, complete, put := s3test.Method(http.MethodPut, "partNumber"), s3test.Method(http.MethodPost, "uploadId"), s3test.Method(http.MethodPut)
	second := func(r *http.Request) bool { return part(r) && r.URL.Query().Get("partNumber") == "2" }
	const large, small = 20 << 20, 1000
	for _, row := range []struct {
		name    string
		size    int
		trouble s3test.Trouble
		want    error
	}{
		{"begun and refused", large, s3test.Refuse(http.StatusForbidden, "AccessDenied").For(begin), store.ErrDenied},
		{"begun, the answer never came", large, s3test.Silence().For(begin), store.ErrStalled},
		{"a part cut off", large, s3test.CutRequest(2 << 20).For(second), nil},
		{"a part's bytes taken no more", large, s3test.StallRequest(1 << 20).For(second), store.ErrStalled},
		{"a part never answered", large, s3test.Silence().For(second), store.ErrStalled},
		{"a part refused", large, s3test.Refuse(http.StatusForbidden, "QuotaExceeded").For(second), store.ErrFull},
		{"put together with an error", large, s3test.Refuse(http.StatusInternalServerError, "InternalError").For(complete), nil},
		{"put together with an error under status 200", large, s3test.Refuse(http.StatusOK, "InternalError").For(complete), nil},
		{"a small object cut off", small, s3test.CutRequest(500).For(put), nil},
		{"a small object refused", small, s3test.Refuse(http.StatusForbidden, "AccessDenied").For(put), store.ErrDenied},
		{"a small object's bytes taken no more", small, s3test.StallRequest(10).For(put), store.ErrStalled},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, direct, s, before := troubled(t, server, 100, row.want)
			p.Set(row.trouble)
			err := storetest.Put(t.Context(), s, "a", storetest.Bytes(row.size, 2))
			if err == nil || row.want != nil && !errors.Is(err, row.want) {
				t.Fatalf("%v; want %v", err, row.want)
			}
			if p.Met() == 0 {
				t.Fatal("nothing was broken, the test proves nothing")
			}
			if got, err := storetest.Get(t.Context(), openConfig(t, direct), "a"); err != nil || string(got) != string(before) {
				t.Fatalf("what was there before is %d bytes, %v", len(got), err)
			}
			if row.name != "begun, the answer never came" { // the upload's id was in that answer
				noneUnfinished(t, server, direct)
			}
		})
	}
}

// What breaks once is tried again: a backup of an hour does not end with one lost packet.
func TestS3TriesAgain(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	for _, row := range []struct {
		name    string
		trouble s3test.Trouble
	}{
		{"a part cut off", s3test.CutRequest(5 << 20).For(s3test.Method(http.MethodPut, "partNumber"))},
		{"a part's answer lost", s3test.LoseAnswer().For(s3test.Method(http.MethodPut, "partNumber"))},
		{"slow down", s3test.Refuse(http.StatusServiceUnavailable, "SlowDown").For(s3test.Method(http.MethodPut, "partNumber"))},
		{"put together, the answer lost", s3test.LoseAnswer().For(s3test.Method(http.MethodPost, "uploadId"))},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, direct, s, _ := troubled(t, server, 100, nil)
			p.Set(row.trouble.Once())
			data := storetest.Bytes(20<<20, 2)
			if err := storetest.Put(t.Context(), s, "a", data); err != nil {
				t.Fatal(err)
			}
			if p.Met() != 1 {
				t.Fatalf("%d requests were broken, want 1", p.Met())
			}
			if got, err := storetest.Get(t.Context(), s, "a"); err != nil || string(got) != string(data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			noneUnfinished(t, server, direct)
		})
	}
}

// Every request is bounded (no time is asserted: without a bound, the test would not end).
func TestS3Silence(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	p, _, s, _ := troubled(t, server, 100, store.ErrStalled)
	p.Set(s3test.Silence())
	for op, err := range asks(t, s) {
		if !errors.Is(err, store.ErrStalled) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// A listing that goes wrong is an error, not a short list: "there is no backup" must not come of it.
func TestS3BrokenListing(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t, s3test.Options{})
	p, _, s, _ := troubled(t, server, 100, nil)
	list := s3test.Method(http.MethodGet, "list-type")
	for name, trouble := range map[string]s3test.Trouble{
		"refused": s3test.Refuse(http.StatusForbidden, "AccessDenied"),
		"cut":     s3test.CutResponse(60),
		"ended":   s3test.EndResponse(60),
	} {
		p.Set(trouble.For(list))
		if keys, err := storetest.Keys(t.Context(), s, ""); err == nil {
			t.Errorf("%s: %q", name, keys)
		}
	}
}
