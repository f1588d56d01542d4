package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
)

const (
	memberName = "proof"
	// peerURL is in the membership alone: one member dials nobody.
	peerURL = "http://127.0.0.1:2380"
	// serveLimit is how long etcd may take to open the store and answer. It reads its index from the whole file.
	serveLimit = 5 * time.Minute
	askLimit   = 10 * time.Second
	tailSize   = 8 << 10
)

// Version asks an etcd program for its version.
func Version(ctx context.Context, etcd string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	c := exec.CommandContext(ctx, etcd, "--version") //nolint:gosec // the etcd of this node, or the one that was named
	c.Env, c.WaitDelay = []string{"PATH=/usr/bin:/bin"}, time.Second
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("no etcd to prove it with: %s --version: %w; name one with --etcd", etcd, err)
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(line, "etcd Version: "); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("no etcd to prove it with: %s --version does not say its version; name one with --etcd", etcd)
}

// serve starts etcd on the restored data dir, asks it, and ends it.
func serve(ctx context.Context, p Params, data string, r *Result, want fileHash) (err error) {
	sockets, err := os.MkdirTemp(p.Sockets, "proof-")
	if err != nil {
		return fmt.Errorf("folder for sockets: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(sockets)) }()
	client := "unix://" + filepath.Join(sockets, "c")
	ctx, cancel := context.WithTimeoutCause(ctx, serveLimit, fmt.Errorf("the restored etcd did not answer within %s", serveLimit))
	defer cancel()
	began := time.Now()
	e, err := start(p, data, client, "unix://"+filepath.Join(sockets, "p"))
	if err != nil {
		return err
	}
	defer e.end()
	// No question waits for an etcd that is gone.
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	go func() {
		select {
		case <-e.done:
			gone()
		case <-ctx.Done():
		}
	}()
	p.Progress("serving", 0, 0)
	c, err := etcdclient.Dial([]string{client}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for {
		ask, done := context.WithTimeout(ctx, askLimit)
		_, err = c.Members(ask)
		done()
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return e.why(ctx, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	r.ServeTime = time.Since(began)
	if err := compare(ctx, c, client, p, r, want); err != nil {
		return e.why(ctx, err)
	}
	return nil
}

// why says what ended the questions: etcd's own end, the time that is up, or what was answered.
func (e *process) why(ctx context.Context, err error) error {
	select {
	case <-e.done:
		return fmt.Errorf("%w: etcd ended: %w; its last words: %s", ErrNotProven, e.err, e.tail.String())
	default:
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return cause // somebody gave up, which proves nothing either way
		}
		return fmt.Errorf("%w: %w; its last words: %s", ErrNotProven, cause, e.tail.String())
	}
	return err
}

// compare asks for what the backup says it holds.
func compare(ctx context.Context, c *etcdclient.Client, endpoint string, p Params, r *Result, want fileHash) error {
	st, err := c.Status(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	r.EtcdVersion, r.Revision = st.Version, st.Revision
	if st.Revision != p.Revision {
		return fmt.Errorf("%w: it serves revision %d, the backup says %d (I10)", ErrNotProven, st.Revision, p.Revision)
	}
	p.Progress("comparing", 0, 0)
	h, err := c.HashKV(ctx, endpoint, st.Revision)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	r.Hash = h.Hash
	if want.exact && h.Hash != want.hash {
		return fmt.Errorf("%w: etcd hashes its store to %08x, the file's content to %08x", ErrNotProven, h.Hash, want.hash)
	}
	r.Keys, err = c.Count(ctx)
	if etcdclient.NeedsAuth(err) {
		// The hash covers every key and value; only the count needs a user.
		r.Keys = -1
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	if p.Keys >= 0 && r.Keys != p.Keys {
		return fmt.Errorf("%w: it has %d keys, the backup says %d", ErrNotProven, r.Keys, p.Keys)
	}
	if err := c.WriteAndRead(ctx, "\x00ceo-proof", strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
		return fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	return nil
}

// process is the scratch etcd. It ends with this process, however that ends.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done
	tail tail
}

func start(p Params, data, client, peer string) (*process, error) {
	e := &process{done: make(chan struct{})}
	e.cmd = exec.Command(p.Etcd, //nolint:gosec // the etcd of this node, or the one that was named
		"--name="+memberName, "--data-dir="+data,
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster="+memberName+"="+peerURL,
		// Never a new cluster, whatever it finds.
		"--initial-cluster-state=existing",
		// Of a store of any size; etcd refuses writes above its quota.
		"--quota-backend-bytes="+strconv.FormatInt(max(2*p.Size, 8<<30), 10), "--logger=zap", "--log-level=warn",
	)
	// None of a calling shell's ETCD_ variables.
	e.cmd.Env = []string{"PATH=/usr/bin:/bin"}
	e.cmd.Stdout, e.cmd.Stderr = &e.tail, &e.tail
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := e.cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", p.Etcd, err)
			return
		}
		started <- nil
		e.err = e.cmd.Wait()
		if e.err == nil {
			e.err = errors.New("exit code 0")
		}
		close(e.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return e, nil
}

// end kills it: what it wrote is thrown away.
func (e *process) end() {
	_ = e.cmd.Process.Kill()
	<-e.done
}

// tail keeps the end of what was written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - tailSize; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
