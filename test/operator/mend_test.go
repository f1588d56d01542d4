//go:build integration

package operator_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
)

func (d *double) called(what string) {
	d.set(func() { d.calls = append(d.calls, what) })
}

func (d *double) made() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *double) real() (*etcdclient.Client, error) {
	tls, err := etcdclient.HealthcheckTLS(d.paths.EtcdPKI())
	if err != nil {
		return nil, err
	}
	return etcdclient.Dial([]string{d.etcd.ClientURL}, tls)
}

// Maintain does with a real etcd what it is asked for. That the real agent looks again before is TestDefragment's.
func (d *double) Maintain(ctx context.Context, req *agentpb.MaintainRequest) (*agentpb.MaintainReply, error) {
	d.called(req.GetKind())
	c, err := d.real()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	switch req.GetKind() {
	case "compact":
		return &agentpb.MaintainReply{}, c.Compact(ctx, req.GetRevision(), true)
	case "defragment":
		return &agentpb.MaintainReply{}, c.Defragment(ctx, d.etcd.ClientURL)
	}
	id, err := strconv.ParseUint(req.GetMemberId(), 16, 64)
	if err != nil {
		return nil, err
	}
	return &agentpb.MaintainReply{}, c.Disarm(ctx, etcdclient.Alarm{Kind: req.GetAlarm(), MemberID: id})
}

func (d *double) HoldEtcd(_ context.Context, req *agentpb.HoldEtcdRequest) (*agentpb.HoldEtcdReply, error) {
	d.called("hold")
	d.set(func() { d.hold = req.GetId() })
	if p := d.etcd.Pid(); p > 0 {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
			return nil, err
		}
	}
	return &agentpb.HoldEtcdReply{How: "guard"}, nil
}

func (d *double) ReleaseEtcd(_ context.Context, req *agentpb.ReleaseEtcdRequest) (*agentpb.ReleaseEtcdReply, error) {
	d.called("release " + req.GetId())
	d.set(func() { d.hold = "" })
	return &agentpb.ReleaseEtcdReply{}, nil
}

// ChangeMembers hands the leadership over; nothing else is asked of it here.
func (d *double) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	d.called(req.GetKind())
	to, err := strconv.ParseUint(req.GetTo(), 16, 64)
	if err != nil {
		return nil, err
	}
	return &agentpb.ChangeMembersReply{}, d.moveLeader(ctx, to)
}

func (d *double) moveLeader(ctx context.Context, to uint64) error {
	d.mu.Lock()
	move := d.move
	d.mu.Unlock()
	_, err := move(ctx, to)
	return err
}

// TestMend: three real members are defragmented one after the other, the leader last and handed over (P26); then one
// raises CORRUPT: it is fenced, and let go and disarmed when, and only when, it was removed.
func TestMend(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	nodes := w.newCluster3(t)
	c := nodes[0].etcd.Client(t)
	value := strings.Repeat("x", 1<<19)
	for i := range 60 {
		_, err := c.Put(etcdtest.Context(t), fmt.Sprintf("/fill/%d", i%2), value)
		must(t, err)
	}
	st, err := c.Get(etcdtest.Context(t), "/fill/0")
	must(t, err)
	for _, n := range nodes {
		cl := n.etcd.Client(t)
		n.set(func() { n.move = cl.MoveLeader })
	}
	_, err = c.Compact(etcdtest.Context(t), st.Header.Revision, clientv3.WithCompactPhysical())
	must(t, err)
	// Pages are counted as free with the commits that follow; a cluster that is used has them.
	etcdtest.Eventually(t, "the pages to be free", func() (bool, string) {
		_, err := c.Put(etcdtest.Context(t), "/small", "x")
		must(t, err)
		for _, d := range nodes {
			s, err := c.Status(etcdtest.Context(t), d.etcd.ClientURL)
			if err != nil || s.DbSizeInUse > s.DbSize/2 {
				return false, fmt.Sprint(s, err)
			}
		}
		return true, ""
	})
	w.start(t)
	w.newCluster(t)
	o := w.cluster(t)
	o.Spec.Defragmentation.MinSize = "8Mi"
	must(t, w.client.Update(etcdtest.Context(t), &o))
	etcdtest.Eventually(t, "all to be defragmented", func() (bool, string) {
		n, moved := 0, 0
		for _, d := range nodes {
			calls := d.made()
			for _, call := range calls {
				if call == "move-leader" {
					moved++
				}
			}
			if slices.Contains(calls, "defragment") {
				n++
			}
		}
		return n == 3 && moved > 0, fmt.Sprint(nodes[0].made(), nodes[1].made(), nodes[2].made())
	})
	w.waitEvent(t, "Defragmented")

	victim := nodes[2]
	s, err := c.Status(etcdtest.Context(t), victim.etcd.ClientURL)
	must(t, err)
	id := s.Header.MemberId
	if s.Leader == id {
		other, err := c.Status(etcdtest.Context(t), nodes[0].etcd.ClientURL)
		must(t, err)
		must(t, victim.moveLeader(etcdtest.Context(t), other.Header.MemberId))
	}
	_, err = pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(etcdtest.Context(t), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
	must(t, err)
	etcdtest.Eventually(t, "the corrupt member to be fenced", func() (bool, string) {
		return slices.Contains(victim.made(), "hold"), fmt.Sprint(victim.made())
	})
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonAlarmCorrupt)
	w.looks(t, nodes, 3)
	all := fmt.Sprint(nodes[0].made(), nodes[1].made(), victim.made())
	if strings.Contains(all, "release") || strings.Contains(all, "disarm") {
		t.Errorf("let go or disarmed before it was removed: %s", all)
	}
	// What the members' controller does.
	_, err = c.MemberRemove(etcdtest.Context(t), id)
	must(t, err)
	etcdtest.Eventually(t, "the fence to end and the alarm to go", func() (bool, string) {
		r, err := c.AlarmList(etcdtest.Context(t))
		return err == nil && len(r.Alarms) == 0 && slices.Contains(victim.made(), fmt.Sprintf("release corrupt/%x", id)), fmt.Sprint(r, err, victim.made())
	})
}
