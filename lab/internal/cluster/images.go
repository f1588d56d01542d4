package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/lab/internal/image"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Load imports image tars into the running nodes. Without only they are kept, so that nodes which boot or are added later get them too.
func (l *Lab) Load(ctx context.Context, tars, only []string) error {
	if len(only) > 0 {
		return l.loadOnce(ctx, tars, only)
	}
	if l.S == nil {
		return errNoLab
	}
	for _, tar := range tars {
		sum, err := image.Digest(tar)
		if err != nil {
			return err
		}
		file := sum + ".tar"
		if _, err := os.Stat(l.Dir.Path("images", file)); err != nil {
			tmp := l.Dir.Path("images", "."+file)
			_ = os.Remove(tmp)
			if err := image.CopyFile(tar, tmp); err != nil {
				return fmt.Errorf("keep image %s: %w", tar, err)
			}
			if err := os.Rename(tmp, l.Dir.Path("images", file)); err != nil {
				return fmt.Errorf("keep image %s: %w", tar, err)
			}
		}
		err = l.update(func() {
			// The same file again takes the place of its older self, which may have the same reference.
			l.S.Images = slices.DeleteFunc(l.S.Images, func(i state.Image) bool { return i.From == tar || i.SHA256 == sum })
			l.S.Images = append(l.S.Images, state.Image{File: file, SHA256: sum, From: tar})
		})
		if err != nil {
			return err
		}
	}
	l.dropOldImages()
	return each(l.S.Running(), func(n *state.Node) error { return l.catchUp(ctx, n) })
}

// dropOldImages removes the files that newer ones took the place of.
func (l *Lab) dropOldImages() {
	all, _ := filepath.Glob(l.Dir.Path("images", "*.tar"))
	for _, file := range all {
		if !slices.ContainsFunc(l.S.Images, func(i state.Image) bool { return i.File == filepath.Base(file) }) {
			_ = os.Remove(file) // it costs space and nothing else
		}
	}
}

func (l *Lab) loadOnce(ctx context.Context, tars, only []string) error {
	for _, name := range only {
		n, err := l.running(name)
		if err != nil {
			return err
		}
		for _, tar := range tars {
			if err := l.importTar(ctx, n, tar); err != nil {
				return err
			}
		}
	}
	return nil
}

// catchUp imports the kept images that the node does not have yet.
func (l *Lab) catchUp(ctx context.Context, n *state.Node) error {
	for _, i := range l.S.Images {
		if slices.Contains(n.Images, i.SHA256) {
			continue
		}
		if err := l.importTar(ctx, n, l.Dir.Path("images", i.File)); err != nil {
			return err
		}
		if err := l.update(func() { n.Images = append(n.Images, i.SHA256) }); err != nil {
			return err
		}
	}
	return nil
}

// importTar streams the tar into the node: its files are not visible there.
func (l *Lab) importTar(ctx context.Context, n *state.Node, tar string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	f, err := os.Open(tar) //nolint:gosec // named by the user
	if err != nil {
		return fmt.Errorf("load %s: %w", tar, err)
	}
	defer func() { _ = f.Close() }()
	cmd, err := l.command(ctx, n, "ctr", "-n", "k8s.io", "images", "import", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load %s into %s: %w: %s", filepath.Base(tar), n.Name, err, out)
	}
	return nil
}
