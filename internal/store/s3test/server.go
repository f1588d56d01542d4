package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// Options of a server.
type Options struct {
	// Dir holds the objects and what the server notes of them. Run needs it; Start takes one of the test's.
	Dir string
	// TLS: the server has a certificate of a CA of its own, which Credentials.CA then holds.
	TLS bool
}

// Server is one that runs.
type Server struct {
	// Endpoint is scheme://127.0.0.1:port.
	Endpoint string
	// Credentials are those of its root user, who may do all.
	Credentials store.Credentials

	client *http.Client
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // once done
	out    tail
}

// URL names a bucket of the server as internal/store does.
func (s *Server) URL(bucket string) string { return "s3://" + bucket + "?endpoint=" + s.Endpoint }

// Run starts a server and waits until it serves. It runs until Close, and no longer than this process.
func Run(ctx context.Context, o Options) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	s := &Server{Credentials: store.Credentials{AccessKeyID: "root-" + rand.Text(), SecretAccessKey: rand.Text() + rand.Text()}}
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	objects, meta, users := filepath.Join(o.Dir, "objects"), filepath.Join(o.Dir, "meta"), filepath.Join(o.Dir, "users")
	for _, dir := range []string{objects, meta, users} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("s3test: %w", err)
		}
	}
	var flags []string
	scheme := "http"
	if o.TLS {
		scheme = "https"
		cert, key, ca, err := issue(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("s3test: certificate: %w", err)
		}
		flags = []string{"--cert=" + cert, "--key=" + key}
		s.Credentials.CA = ca
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ca))
		s.client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	// Whoever answers under this path is this server, not another that took the port.
	health := "/" + rand.Text()
	// The port is free only until somebody else takes it.
	for range 5 {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		s.Endpoint = scheme + "://" + addr
		args := append([]string{"--port=" + addr, "--health=" + health, "--iam-dir=" + users, "--quiet"}, flags...)
		// The notes in files: not every file system of a temporary folder has attributes.
		args = append(args, "posix", "--sidecar="+meta, objects)
		if err := s.start(binary, args); err != nil {
			return nil, fmt.Errorf("s3test: start %s: %w", binary, err)
		}
		err = s.wait(ctx, health)
		if err == nil {
			return s, nil
		}
		s.Close()
		if ctx.Err() != nil || !bytes.Contains([]byte(s.Output()), []byte("address already in use")) {
			return nil, err
		}
	}
	return nil, errors.New("s3test: five ports in a row were taken by others")
}

func (s *Server) start(binary string, args []string) error {
	s.done = make(chan struct{})
	s.cmd = exec.Command(binary, args...) //nolint:gosec // the tests' own server
	// The credentials are in no process list. None of the calling shell's VGW_ variables.
	s.cmd.Env = []string{
		"PATH=/usr/bin:/bin", "ROOT_ACCESS_KEY=" + s.Credentials.AccessKeyID, "ROOT_SECRET_KEY=" + s.Credentials.SecretAccessKey,
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	// Were this process itself killed, nobody would call Close.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := s.cmd.Start(); err != nil {
			close(s.done)
			started <- err
			return
		}
		started <- nil
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return <-started
}

// wait until it serves, or has ended.
func (s *Server) wait(ctx context.Context, health string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.serves(ctx, health)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("s3test: the S3 server has ended (%w): %s", s.err, s.Output())
		case <-ctx.Done():
			return fmt.Errorf("s3test: waited for the S3 server: %w; last seen: %w; its output: %s", ctx.Err(), err, s.Output())
		case <-tick.C:
		}
	}
}

func (s *Server) serves(ctx context.Context, health string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+health, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", s.Endpoint+health, resp.Status)
	}
	return nil
}

// Close kills it.
func (s *Server) Close() {
	select {
	case <-s.done:
	default:
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// Output is the end of what the server wrote.
func (s *Server) Output() string { return s.out.String() }

// freeAddr picks below the kernel's range for outgoing connections, and below etcdtest's ports, so that none takes the
// port in between.
func freeAddr() (string, error) {
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 9000+mathrand.IntN(3000)) //nolint:gosec // a port, not a secret
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("s3test: no free port on 127.0.0.1")
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
	if n := len(t.b) - 8<<10; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
