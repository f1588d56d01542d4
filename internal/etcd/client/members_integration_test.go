//go:build integration

package client

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/etcdtest"
)

func membership(t *testing.T, c *Client) (uint64, etcd.View) {
	t.Helper()
	m, err := c.Members(etcdtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	v := etcd.View{Members: m.Pure()}
	for i := range v.Members {
		v.Members[i].Health = etcd.Healthy
	}
	return m.ClusterID, v
}

// A recovery that restored an alarm with the data brings the members back all the same; what holds the lock is respected
// as long as it lives (I7).
func TestChangeAloneUnderAnAlarm(t *testing.T) {
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		t.Run(alarm.String(), func(t *testing.T) {
			cluster := etcdtest.Start(t, etcdtest.Options{})
			raw := cluster.Client(t)
			c, err := Dial(cluster.Endpoints(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			id, on := membership(t, c)
			l := Locked{Who: "a recovery"}
			add := Change{Action: etcd.Action{Kind: etcd.AddLearner, PeerURL: "http://127.0.0.1:1"}, ClusterID: id, On: on, Endpoint: cluster.Members[0].ClientURL}

			held, err := lock.Acquire(etcdtest.Context(t), raw, "ceo node install on cp-9", 0, func(lock.Holder) {})
			if err != nil {
				t.Fatal(err)
			}
			var locked *lock.HeldError
			if err := c.ChangeAlone(etcdtest.Context(t), l, add); !errors.As(err, &locked) {
				t.Errorf("beside a holder: %v", err)
			}
			held.Release()
			if _, err := pb.NewMaintenanceClient(raw.ActiveConnection()).Alarm(etcdtest.Context(t), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: alarm}); err != nil {
				t.Fatal(err)
			}
			if err := c.ChangeAlone(etcdtest.Context(t), l, add); err != nil {
				t.Fatal(err)
			}
			if _, now := membership(t, c); len(now.Members) != 2 {
				t.Errorf("%+v", now.Members)
			}
			// Refused is refused, also then.
			var refused *RefusedError
			if err := c.ChangeAlone(etcdtest.Context(t), l, Change{Action: etcd.Action{Kind: etcd.Remove, MemberID: on.Members[0].ID}, ClusterID: id, On: on}); !errors.As(err, &refused) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A recovery's coordinator hands the leadership over from whichever member has it.
func TestMoveLeaderFromElsewhere(t *testing.T) {
	cluster := etcdtest.Start(t, etcdtest.Options{Members: 2})
	var cs []*Client
	for _, m := range cluster.Members {
		c, err := Dial([]string{m.ClientURL}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		cs = append(cs, c)
	}
	st, err := cs[0].Status(etcdtest.Context(t), cluster.Members[0].ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	id, on := membership(t, cs[0])
	through, to := 0, st.MemberID // a follower
	if st.Leader == st.MemberID {
		through = 1
		for _, m := range on.Members {
			if m.ID != st.MemberID {
				to = m.ID
			}
		}
	}
	ch := Change{
		Action: etcd.Action{Kind: etcd.MoveLeader, MemberID: st.Leader, To: to}, ClusterID: id, On: on, Endpoint: cluster.Members[through].ClientURL,
		Leader: func(endpoint string) (*Client, error) { return Dial([]string{endpoint}, nil) },
	}
	etcdtest.Eventually(t, "the leadership to move", func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), etcdtest.WaitFor)
		defer cancel()
		if err := cs[through].ChangeAlone(ctx, Locked{Who: "a recovery"}, ch); err != nil {
			return false, err.Error()
		}
		now, err := cs[through].Status(ctx, cluster.Members[through].ClientURL)
		return err == nil && now.Leader == to, ""
	})
}
