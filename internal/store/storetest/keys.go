package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"clusteretcd.io/ceo/internal/store"
)

func oddKeys(t *testing.T, s store.Store) {
	keys := []string{
		"with space", "plus+and&amp", "per%cent", "per%2Fcent", "question?mark", "hash#tag", "quote\"'", "ünïcödé/日本",
		"colon:semi;comma,", "(round)[square]{curly}", "star*", "at@equals=", "tilde~dollar$", "a.part", ".hidden",
		"..dots..", "...", "less<greater>", "pipe|caret^", "`tick", "dash-", "under_score", "UPPER/lower",
		strings.Repeat("s", 200) + "/" + strings.Repeat("t", 200),
	}
	for i, key := range keys {
		if err := store.ValidKey(key); err != nil {
			t.Fatal(err)
		}
		put(t, s, key, fmt.Append(nil, i))
	}
	got, err := Keys(t.Context(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(keys))
	if !slices.Equal(got, want) {
		t.Fatalf("listed\n%q, want\n%q", got, want)
	}
	for i, key := range keys {
		holds(t, s, key, fmt.Append(nil, i))
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Keys(t.Context(), s, ""); err != nil || len(got) != 0 {
		t.Fatalf("left after deleting all: %q, %v", got, err)
	}
}

func badKeys(t *testing.T, s store.Store) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", "a../b", ".", "..", "../a", "a/../b", "a/..", "./a", "a/.", "a\\b", "a\x00b", "a\nb", "\xff",
		"__0x2f__", strings.Repeat("a", 201), strings.Repeat("ab/", 300) + "c",
		".a.ABCDEFGHIJKLMNOPQRSTUVWXYZ.part",
	} {
		if w, err := s.Create(t.Context(), key); err == nil {
			_ = w.Abort()
			t.Errorf("Create(%q) took it", key)
		}
		if _, err := s.Range(t.Context(), key, 0, -1); err == nil {
			t.Errorf("Range(%q) took it", key)
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%q) took it", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%q) took it", key)
		}
	}
}

// order: keys are compared as bytes, with the slash in them, not folder by folder.
func order(t *testing.T, s store.Store) {
	keys := []string{"a/b", "a.b", "a0", "a-b/c", "a/b.c", "a/b0", "b", "B", "a/c/d", "ä", "a/c-d/e", "a/c.d"}
	for _, key := range keys {
		put(t, s, key, []byte(key))
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/c", "a/c/", "a/c/d", "b", "x", "a-", "/", "a//", "../"} {
		want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		got, err := Keys(t.Context(), s, prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("prefix %q: %q, %v; want %q", prefix, got, err, want)
		}
	}
	// A listing can be left early.
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
}

// pages: S3 lists 1,000 at a time.
func pages(t *testing.T, s store.Store) {
	var (
		want []string
		wg   sync.WaitGroup
	)
	limit := make(chan struct{}, 8)
	for i := range 1020 {
		key := fmt.Sprintf("p/%04d/manifest.json", i)
		want = append(want, key)
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			if err := Put(t.Context(), s, key, []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	put(t, s, "q", nil)
	got, err := Keys(t.Context(), s, "p/")
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("listed %d of %d, %v", len(got), len(want), err)
	}
}
