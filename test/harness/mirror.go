package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files of a node, read together.
func (c *Cluster) Files(ctx context.Context, node string, paths ...string) (map[string]string, error) {
	const mark = "== "
	res, err := c.On(ctx, node, append([]string{"sh", "-ec", `for f; do echo "` + mark + `$f"; cat "$f"; done`, "sh"}, paths...)...)
	if err != nil {
		return nil, err
	}
	out, at := map[string]string{}, ""
	for l := range strings.Lines(res.Out) {
		if f, ok := strings.CutPrefix(l, mark); ok {
			at = strings.TrimSpace(f)
			continue
		}
		out[at] += l
	}
	return out, nil
}

// copyFiles copies files of a node. A certificate goes with its key or not at all, and whoever reads one of the files reads
// a whole one.
func (c *Cluster) copyFiles(ctx context.Context, node string, files map[string]string) error {
	var paths []string
	for p := range files {
		paths = append(paths, p)
	}
	have, err := c.Files(ctx, node, paths...)
	if err != nil {
		return err
	}
	for p, content := range have {
		if key, ok := have[strings.TrimSuffix(p, ".crt")+".key"]; ok && strings.HasSuffix(p, ".crt") {
			if _, err := tls.X509KeyPair([]byte(content), []byte(key)); err != nil {
				return fmt.Errorf("%s is being replaced: %w", p, err)
			}
		}
	}
	for p, to := range files {
		if old, err := os.ReadFile(to); err == nil && string(old) == have[p] {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(to+".new", []byte(have[p]), 0o600); err != nil {
			return err
		}
		if err := os.Rename(to+".new", to); err != nil {
			return err
		}
	}
	return nil
}

// mirrorEvery is how far copies are behind, at most a little more.
const mirrorEvery = time.Second

// mirror copies files of a node again and again, until stop is called: who uses them is outside of the lab, and its
// certificates last minutes.
func (c *Cluster) mirror(ctx context.Context, node string, files map[string]string) (stop func(), err error) {
	if err := Until(ctx, "the certificates of "+node, time.Minute, func(ctx context.Context) error { return c.copyFiles(ctx, node, files) }); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		said := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(mirrorEvery):
			}
			err := c.copyFiles(ctx, node, files)
			if err != nil && !said && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
				c.Log("copies of the certificates of %s stay as they were: %v", node, err)
			}
			said = err != nil
		}
	}()
	return func() { cancel(); <-done }, nil
}

// RecordRetrying is RecordHistory with clients that ask the next member once more where one fails, begin a connection anew
// every few seconds, and read their certificates for it, which follow those of the first node until stop is called.
func (c *Cluster) RecordRetrying(ctx context.Context, run string, nodes ...string) (l *Load, stop func(), err error) {
	if stop, err = c.mirror(ctx, nodes[0], c.recorderCerts(run)); err != nil {
		return nil, nil, err
	}
	if l, err = c.record(ctx, run, nodes, "--retry", "--redial", "3s", "--timeout", "5s"); err != nil {
		stop()
		return nil, nil, err
	}
	return l, stop, nil
}

// FollowOperatorCerts lets the certificate of an operator that StartOperator started follow its node's, as one that the
// kubelet runs has it, until stop is called.
func (c *Cluster) FollowOperatorCerts(ctx context.Context, name, node string) (stop func(), err error) {
	files := map[string]string{}
	for _, f := range []string{"operator.crt", "operator.key", "ca.crt"} {
		files[OperatorCerts+"/"+f] = filepath.Join(c.Scratch, name, f)
	}
	return c.mirror(ctx, node, files)
}

// FailedTwice are the operations that failed, and failed again on another member.
func FailedTwice(ops []Op) (out []Op) {
	for _, o := range ops {
		if o.Again && o.Outcome == Unknown {
			out = append(out, o)
		}
	}
	return out
}
