// Package client connects to agents: over the node's root-only socket, or to
// another node with a certificate. It knows no client-go, so that everything
// that calls agents works with the API server down.
package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// ChunkSize of streamed snapshots: large enough to keep the cost per message
// small, small enough that a stream's window bounds memory.
const ChunkSize = 256 << 10

// options make a connection that notices a dead node within seconds and tries
// again quickly: a node that boots must not be found only minutes later.
func options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
	}
}

// Socket connects to this node's agent; root only.
func Socket(p node.Paths) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+p.AgentSocket(), append(options(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, fmt.Errorf("agent socket %s: %w", p.AgentSocket(), err)
	}
	return conn, nil
}

// Dial connects to the agent at host:port with a certificate.
func Dial(address string, f pki.Files) (*grpc.ClientConn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("agent address %q: %w", address, err)
	}
	tls, err := pki.ClientTLS(f, host)
	if err != nil {
		return nil, fmt.Errorf("connect to the agent at %s: %w", address, err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, append(options(), grpc.WithTransportCredentials(credentials.NewTLS(tls)))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the agent at %s: %w", address, err)
	}
	return conn, nil
}

// Pool keeps one connection to each agent.
type Pool struct {
	files pki.Files
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// NewPool makes a pool whose connections use the certificate.
func NewPool(f pki.Files) *Pool { return &Pool{files: f, conns: map[string]*grpc.ClientConn{}} }

// Agent at an address (host, without the port).
func (p *Pool) Agent(host string) (agentpb.AgentClient, error) {
	address := node.Peer{Address: host}.AgentAddress()
	p.mu.Lock()
	defer p.mu.Unlock()
	conn, ok := p.conns[address]
	if !ok {
		var err error
		if conn, err = Dial(address, p.files); err != nil {
			return nil, err
		}
		p.conns[address] = conn
	}
	return agentpb.NewAgentClient(conn), nil
}

// Close ends all connections.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for a, c := range p.conns {
		errs = append(errs, c.Close())
		delete(p.conns, a)
	}
	return errors.Join(errs...)
}

// PutSnapshot streams a file to an agent, which verifies the digest.
func PutSnapshot(ctx context.Context, a agentpb.AgentClient, path string, progress func(done, total int64)) (*agentpb.SnapshotInfo, error) {
	f, err := os.Open(path) //nolint:gosec // the file that the person named
	if err != nil {
		return nil, fmt.Errorf("open the snapshot: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the snapshot: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: name a snapshot's file with --from", path)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := a.PutSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	buf := make([]byte, ChunkSize)
	var done int64
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			_, _ = h.Write(buf[:n])
			if err := s.Send(&agentpb.SnapshotChunk{Data: buf[:n]}); err != nil {
				return finish(s, err)
			}
			done += int64(n)
			if progress != nil {
				progress(done, st.Size())
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	if err := s.Send(&agentpb.SnapshotChunk{Trailer: &agentpb.SnapshotTrailer{Size: done, Sha256: hex.EncodeToString(h.Sum(nil))}}); err != nil {
		return finish(s, err)
	}
	return finish(s, nil)
}

// finish asks for the answer: after a failed Send it holds the real reason.
func finish(s grpc.ClientStreamingClient[agentpb.SnapshotChunk, agentpb.SnapshotInfo], sendErr error) (*agentpb.SnapshotInfo, error) {
	info, err := s.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	if sendErr != nil && !errors.Is(sendErr, io.EOF) {
		return nil, sendErr
	}
	return info, nil
}

// TakeSnapshot streams a snapshot from an agent's etcd into w and verifies
// size and digest. The caller verifies what is inside.
func TakeSnapshot(ctx context.Context, a agentpb.AgentClient, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := a.TakeSnapshot(ctx, &agentpb.TakeSnapshotRequest{})
	if err != nil {
		return 0, err
	}
	return ReceiveSnapshot(s, w)
}

// ReceiveSnapshot reads a stream to its end and verifies size and digest.
func ReceiveSnapshot(s grpc.ServerStreamingClient[agentpb.SnapshotChunk], w io.Writer) (int64, error) {
	h := sha256.New()
	var n int64
	for {
		c, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return n, errors.New("the snapshot's stream ended before its digest: it is not whole")
		}
		if err != nil {
			return n, err
		}
		if t := c.GetTrailer(); t != nil {
			if t.GetSize() != n || t.GetSha256() != hex.EncodeToString(h.Sum(nil)) {
				return n, fmt.Errorf("the snapshot was damaged on its way: %d bytes arrived of %d, or the digest differs", n, t.GetSize())
			}
			return n, nil
		}
		_, _ = h.Write(c.GetData())
		m, err := w.Write(c.GetData())
		n += int64(m)
		if err != nil {
			return n, fmt.Errorf("write the snapshot: %w", err)
		}
	}
}

// Reason is an error's text without gRPC's wrapping.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		switch s.Code() {
		case codes.Unavailable:
			return "its agent does not answer: " + trimDial(s.Message())
		case codes.DeadlineExceeded:
			return "its agent did not answer in time"
		}
		return s.Message()
	}
	return err.Error()
}

// trimDial keeps the end of gRPC's chain of prefixes, where the cause is.
func trimDial(m string) string {
	if i := strings.LastIndex(m, "desc = "); i >= 0 {
		m = m[i+len("desc = "):]
	}
	return strings.Trim(m, `"`)
}
