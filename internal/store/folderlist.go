package store

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List walks the folder. Files that people put there are objects like any other. Not listed: unfinished files, what is
// no regular file, links to folders, and files whose names are no valid keys.
func (f *folder) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		// Only folders that can hold the prefix are read.
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
			if ValidKey(dir) != nil {
				return // nothing valid begins with it
			}
		}
		f.walk(ctx, dir, prefix, yield)
	}
}

// walk yields what is below dir (a key, empty for the root) in the order of keys; false when it is to end.
func (f *folder) walk(ctx context.Context, dir, prefix string, yield func(Object, error) bool) bool {
	if err := ctx.Err(); err != nil {
		yield(Object{}, f.fail("list", prefix, nil, err))
		return false
	}
	entries, err := os.ReadDir(filepath.Join(f.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) || missing(err) != nil {
		return true // removed meanwhile, or never there
	}
	if err != nil {
		yield(Object{}, f.fail("list", prefix, nil, err))
		return false
	}
	// Keys are compared with the slash in them: "a.b" comes before "a/b", and "a/b" before "a0".
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		key := e.Name()
		if dir != "" {
			key = dir + "/" + key
		}
		if ValidKey(key) != nil {
			continue
		}
		if e.IsDir() {
			if within := key + "/"; strings.HasPrefix(within, prefix) || strings.HasPrefix(prefix, within) {
				if !f.walk(ctx, key, prefix, yield) {
					return false
				}
			}
			continue
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		o, err := f.Stat(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			yield(Object{}, err)
			return false
		}
		if !yield(o, nil) {
			return false
		}
	}
	return true
}

func sortName(e os.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
