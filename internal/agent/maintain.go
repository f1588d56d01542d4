package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/node"
)

// Limits of maintenance. A compaction that is waited for reads the whole index.
const (
	compactLimit = 2 * time.Minute
	hashLimit    = 2 * time.Minute
	// maxDefragment is the most that a caller may ask for.
	maxDefragment = time.Hour
)

// Maintain implements agentpb.AgentServer.
func (a *Agent) Maintain(ctx context.Context, req *agentpb.MaintainRequest) (*agentpb.MaintainReply, error) {
	if r := a.recover.current(); r != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "recovery %s is open here, and its coordinator alone changes the cluster (P17): see `ceo status`", r.GetId())
	}
	m := maintained{url: a.etcd.url, pki: a.paths.EtcdPKI(), busy: &defragmenting}
	who := fmt.Sprintf("%s of etcd on %s", req.GetKind(), a.Config().Name)
	a.log.Info("maintenance", "kind", req.GetKind(), "alarm", req.GetAlarm(), "frozen", req.GetFrozen(), "reason", req.GetReason())
	out, err := maintain(ctx, req, m, m.locked(who, req.GetFrozen()))
	if err != nil {
		a.log.Warn("maintenance failed", "kind", req.GetKind(), "error", err)
		return nil, maintainStatus(err)
	}
	return out, nil
}

func maintainStatus(err error) error {
	var held *lock.HeldError
	var alarmed *lock.AlarmError
	var refused *refusal
	switch {
	case errors.As(err, &held):
		return status.Error(codes.Aborted, err.Error())
	case errors.As(err, &alarmed), errors.As(err, &refused):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return toStatus(err)
}

// refusal is why something is not done now, and was not begun.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// defragmenting is held while this process has its etcd defragmented. It is not the one for changes of the node: a
// recovery may stop etcd in the middle, which costs nothing but the new file.
var defragmenting sync.Mutex

// maintained is the etcd whose database it is.
type maintained struct {
	url  string
	pki  string // "": without TLS, in tests
	busy *sync.Mutex
}

func (m maintained) tls() (*tls.Config, error) {
	if m.pki == "" {
		return nil, nil
	}
	return etcdclient.HealthcheckTLS(m.pki)
}

// locked is Agent.underLock with a connection of its own. The shared one is closed by whoever finds that this etcd does
// not answer, which is what it does while it is defragmented; and with the connection the lock would be lost.
func (m maintained) locked(who string, frozen bool) underLock {
	return func(ctx context.Context, act func(context.Context, *etcdclient.Client) error) error {
		config, err := m.tls()
		if err != nil {
			return err
		}
		c, err := etcdclient.Dial([]string{m.url}, config)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return c.UnderLock(ctx, etcdclient.Locked{Who: who, Wait: lockWait, Frozen: frozen}, func(ctx context.Context) error { return act(ctx, c) })
	}
}

// underLock calls act while the cluster's lock is held.
type underLock func(ctx context.Context, act func(context.Context, *etcdclient.Client) error) error

func maintain(ctx context.Context, req *agentpb.MaintainRequest, m maintained, do underLock) (*agentpb.MaintainReply, error) {
	switch maintenance.Kind(req.GetKind()) {
	case maintenance.Compact:
		if req.GetRevision() <= 0 {
			return nil, status.Error(codes.InvalidArgument, "compact: name the revision")
		}
		ctx, cancel := context.WithTimeout(ctx, compactLimit)
		defer cancel()
		return &agentpb.MaintainReply{}, do(ctx, func(short context.Context, c *etcdclient.Client) error {
			now, err := c.Revision(short)
			if err != nil {
				return err
			}
			if req.GetRevision() > now {
				return refuse("compact to revision %d: the store is at %d", req.GetRevision(), now)
			}
			// It takes no vote away, so it may outlast the lock.
			return c.Compact(ctx, req.GetRevision(), true)
		})
	case maintenance.Disarm:
		id, err := strconv.ParseUint(req.GetMemberId(), 16, 64)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "disarm: member %q is no id", req.GetMemberId())
		}
		alarm := etcdclient.Alarm{Kind: req.GetAlarm(), MemberID: id}
		return &agentpb.MaintainReply{}, do(ctx, func(ctx context.Context, c *etcdclient.Client) error { return disarm(ctx, c, alarm) })
	case maintenance.Defragment:
		return m.defragment(ctx, req, do)
	case maintenance.Nothing, maintenance.Wait, maintenance.Fence, maintenance.MoveLeader:
	}
	return nil, status.Errorf(codes.InvalidArgument, "%q is nothing that Maintain does", req.GetKind())
}

// disarm never takes CORRUPT back while its member is there: it would be let loose on those who read from it.
func disarm(ctx context.Context, c *etcdclient.Client, alarm etcdclient.Alarm) error {
	if maintenance.Alarm(alarm.Kind) == maintenance.Corrupt {
		ms, err := c.Members(ctx)
		if err != nil {
			return err
		}
		for _, m := range ms.Members {
			if m.ID == alarm.MemberID {
				return refuse("member %x is corrupt and still a member: it is removed first", m.ID)
			}
		}
	}
	return c.Disarm(ctx, alarm)
}

// defragment is gone on with when the caller goes away: etcd goes on, too, and the lock stays held until it has ended.
func (m maintained) defragment(ctx context.Context, req *agentpb.MaintainRequest, do underLock) (*agentpb.MaintainReply, error) {
	limit := time.Duration(req.GetLimitMs()) * time.Millisecond
	if limit <= 0 || limit > maxDefragment {
		return nil, status.Errorf(codes.InvalidArgument, "a defragmentation needs a limit up to %s", maxDefragment)
	}
	if !m.busy.TryLock() {
		return nil, status.Error(codes.Aborted, "this member is being defragmented already")
	}
	type answer struct {
		reply *agentpb.MaintainReply
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer m.busy.Unlock()
		// The lock is asked for within its own limits, which are added.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit+time.Minute)
		defer cancel()
		out := &agentpb.MaintainReply{}
		err := do(ctx, func(short context.Context, c *etcdclient.Client) error {
			before, err := m.mayStandStill(short, c, req.GetFrozen())
			if err != nil {
				return err
			}
			out.DbSizeBefore = before.DBSize
			// short ends before the lock could be lost, and the request is begun within it. What follows takes longer: the lock
			// is kept alive all that time, and /metrics says for everybody to see that this member is being defragmented
			// (Etcd.defragmenting), also if this agent dies.
			if err := short.Err(); err != nil {
				return err
			}
			long, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			if err := c.Defragment(long, m.url); err != nil {
				return err
			}
			after, err := c.Status(long, m.url)
			out.DbSizeAfter = after.DBSize
			return err
		})
		done <- answer{out, err}
	}()
	select {
	case a := <-done:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the caller went away; the defragmentation goes on: %w", ctx.Err())
	}
}

// mayStandStill looks again, with the lock held, at what the decision was made of: a look may be old when it arrives
// (P26, I6). What it looks at is the member itself, and every other one by a read that needs its database, which one
// that is being defragmented does not answer.
func (m maintained) mayStandStill(ctx context.Context, c *etcdclient.Client, frozen bool) (etcdclient.Status, error) {
	own, err := c.Status(ctx, m.url)
	if err != nil {
		return own, err
	}
	alarms, err := c.Raised(ctx)
	if err != nil {
		return own, err
	}
	for _, x := range alarms {
		if maintenance.Alarm(x.Kind) == maintenance.Corrupt || !frozen {
			return own, refuse("not defragmented: the alarm %s is raised", x)
		}
	}
	ms, err := c.Members(ctx)
	if err != nil {
		return own, err
	}
	v := etcd.View{Leader: own.Leader}
	var dark []string
	for _, x := range ms.Members {
		y := etcd.Member{ID: x.ID, Name: x.Name, Learner: x.Learner, Health: etcd.Healthy}
		if x.ID != own.MemberID {
			if err := m.reads(ctx, x); err != nil {
				y.Health = etcd.Unknown
				dark = append(dark, fmt.Sprintf("%s (%v)", cmp.Or(x.Name, node.FormatID(x.ID)), err))
			}
		}
		v.Members = append(v.Members, y)
	}
	all, healthy := v.Voters()
	switch l, learner := v.Learner(); {
	case own.Leader == 0:
		return own, refuse("not defragmented: no leader is known")
	case own.Leader == own.MemberID && all > 1:
		return own, refuse("not defragmented: this member leads, and the leadership is handed over first (P26)")
	case learner && !frozen:
		return own, refuse("not defragmented: %s is a learner on its way (I7)", v.Label(l.ID))
	case len(dark) > 0 && (!frozen || all <= 2):
		return own, refuse("not defragmented: only with all healthy (P26), and these do not answer: %s", strings.Join(dark, ", "))
	case all <= 2:
		return own, nil // all are healthy; that etcd stands still for a while was accepted by whoever asks
	}
	if can := etcd.CanLoseVoter(v, own.MemberID); !can.OK {
		return own, refuse("not defragmented: %s (%d of %d voters answer)", can.Reason, healthy, all)
	}
	return own, nil
}

// reads asks one member for something in its database.
func (m maintained) reads(ctx context.Context, x etcdclient.Member) error {
	if len(x.ClientURLs) == 0 {
		return errors.New("it has not started")
	}
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	config, err := m.tls()
	if err != nil {
		return err
	}
	c, err := etcdclient.Dial(x.ClientURLs, config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.Revision(ctx)
	return err
}

// HashStore implements agentpb.AgentServer.
func (a *Agent) HashStore(ctx context.Context, req *agentpb.HashStoreRequest) (*agentpb.HashStoreReply, error) {
	h, err := use(ctx, a.etcd, hashLimit, func(ctx context.Context, c *etcdclient.Client) (*agentpb.HashStoreReply, error) {
		return hashStore(ctx, c, a.etcd.url, req.GetRevision())
	})
	return h, toStatus(err)
}

func hashStore(ctx context.Context, c *etcdclient.Client, url string, revision int64) (*agentpb.HashStoreReply, error) {
	st, err := c.Status(ctx, url)
	if err != nil {
		return nil, err
	}
	h, err := c.HashKV(ctx, url, revision)
	if err != nil {
		return nil, err
	}
	return &agentpb.HashStoreReply{MemberId: node.FormatID(st.MemberID), Revision: h.Revision, CompactRevision: h.CompactRevision, Hash: h.Hash}, nil
}
