// Package client is the project's narrow view of an etcd cluster: membership
// and state, asked over clientv3, whose types do not leave this package.
// Every call is bounded by its context.
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Member as a member list names it.
type Member struct {
	ID uint64
	// Name is empty for a member that was added and never started.
	Name       string
	PeerURLs   []string
	ClientURLs []string
	Learner    bool
}

// Membership is a member list and whose it is.
type Membership struct {
	ClusterID uint64
	Members   []Member
	// Linearizable: confirmed by a quorum. Otherwise it is one member's own
	// view, which may be old.
	Linearizable bool
}

// Status is what one member says of itself.
type Status struct {
	ClusterID    uint64
	MemberID     uint64
	Version      string
	Revision     int64
	DBSize       int64
	DBInUse      int64
	Leader       uint64
	RaftTerm     uint64
	RaftIndex    uint64
	AppliedIndex uint64
	Learner      bool
	Errors       []string
}

// Client talks to one cluster.
type Client struct {
	c         *clientv3.Client
	endpoints []string
}

// Dial makes a client; nothing is connected yet. A nil config is for plain
// http endpoints.
func Dial(endpoints []string, config *tls.Config) (*Client, error) {
	return dial(endpoints, config, nil)
}

// DialBulk is Dial for a snapshot of one member: it takes some megabytes more
// memory.
func DialBulk(endpoint string, config *tls.Config) (*Client, error) {
	return dial([]string{endpoint}, config, bulk())
}

func dial(endpoints []string, config *tls.Config, opts []grpc.DialOption) (*Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints,
		TLS:       config,
		// Without it a peer that lost power is noticed only by TCP, minutes later.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		// The callers retry, and they know for how long.
		MaxUnaryRetries: 2,
		DialOptions:     opts,
		Logger:          zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd client for %v: %w", endpoints, err)
	}
	return &Client{c: c, endpoints: endpoints}, nil
}

// Close ends the connections.
func (c *Client) Close() error {
	if err := c.c.Close(); err != nil {
		return fmt.Errorf("close etcd client for %v: %w", c.endpoints, err)
	}
	return nil
}

// Members lists the membership as a quorum confirms it. Without a leader it
// fails at once.
func (c *Client) Members(ctx context.Context) (Membership, error) {
	return c.members(clientv3.WithRequireLeader(ctx), true)
}

// OwnMembers lists the membership as the member that answers knows it. It
// needs no quorum, and may be old.
func (c *Client) OwnMembers(ctx context.Context) (Membership, error) {
	return c.members(ctx, false)
}

func (c *Client) members(ctx context.Context, linearizable bool) (Membership, error) {
	var opts []clientv3.OpOption
	if !linearizable {
		opts = append(opts, clientv3.WithSerializable())
	}
	r, err := c.c.MemberList(ctx, opts...)
	if err != nil {
		return Membership{}, fmt.Errorf("list members at %v: %w", c.endpoints, err)
	}
	m := Membership{ClusterID: r.Header.GetClusterId(), Linearizable: linearizable}
	for _, x := range r.Members {
		m.Members = append(m.Members, fromPB(x))
	}
	return m, nil
}

// AddLearner adds a member that does not vote until it is promoted.
func (c *Client) AddLearner(ctx context.Context, peerURL string) (Member, error) {
	r, err := c.c.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return Member{}, fmt.Errorf("add learner %s: %w", peerURL, err)
	}
	return fromPB(r.Member), nil
}

// Promote makes a learner a voter. etcd refuses one that is far behind, but not
// one that is a little behind (I8): ask its own metrics before.
func (c *Client) Promote(ctx context.Context, id uint64) error {
	if _, err := c.c.MemberPromote(ctx, id); err != nil {
		return fmt.Errorf("promote member %x: %w", id, err)
	}
	return nil
}

// Remove takes a member out of the cluster for good.
func (c *Client) Remove(ctx context.Context, id uint64) error {
	if _, err := c.c.MemberRemove(ctx, id); err != nil {
		return fmt.Errorf("remove member %x: %w", id, err)
	}
	return nil
}

// Status asks the member behind one endpoint, on a connection that is made for it.
func (c *Client) Status(ctx context.Context, endpoint string) (Status, error) {
	r, err := c.c.Status(ctx, endpoint)
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", endpoint, err)
	}
	return statusOf((*pb.StatusResponse)(r)), nil
}

// OwnStatus asks the member of a client that has one endpoint, on the connection that is there: a handshake costs both
// sides more than the answer.
func (c *Client) OwnStatus(ctx context.Context) (Status, error) {
	if len(c.endpoints) != 1 {
		return Status{}, fmt.Errorf("status of one of %v: which one is asked could not be told", c.endpoints)
	}
	r, err := clientv3.RetryMaintenanceClient(c.c, c.c.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", c.endpoints[0], err)
	}
	return statusOf(r), nil
}

func statusOf(r *pb.StatusResponse) Status {
	return Status{
		ClusterID: r.Header.GetClusterId(), MemberID: r.Header.GetMemberId(), Version: r.Version,
		Revision: r.Header.GetRevision(), DBSize: r.DbSize, DBInUse: r.DbSizeInUse, Leader: r.Leader,
		RaftTerm: r.RaftTerm, RaftIndex: r.RaftIndex, AppliedIndex: r.RaftAppliedIndex, Learner: r.IsLearner, Errors: r.Errors,
	}
}

func fromPB(m *pb.Member) Member {
	return Member{ID: m.GetID(), Name: m.GetName(), PeerURLs: m.GetPeerURLs(), ClientURLs: m.GetClientURLs(), Learner: m.GetIsLearner()}
}
