package engine

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/recovery"
)

// starts keeps how a control plane was started.
type starts struct {
	agentpb.AgentClient
	alone []bool
}

func (*starts) Kubelet(context.Context, *agentpb.KubeletRequest, ...grpc.CallOption) (*agentpb.KubeletReply, error) {
	return &agentpb.KubeletReply{}, nil
}

func (*starts) ReleaseEtcd(context.Context, *agentpb.ReleaseEtcdRequest, ...grpc.CallOption) (*agentpb.ReleaseEtcdReply, error) {
	return &agentpb.ReleaseEtcdReply{}, nil
}

func (s *starts) StartComponents(_ context.Context, req *agentpb.StartComponentsRequest, _ ...grpc.CallOption) (*agentpb.StartComponentsReply, error) {
	s.alone = append(s.alone, req.GetOwnEtcdAlone())
	return &agentpb.StartComponentsReply{}, nil
}

// I3, I4: wherever a recovery starts a kube-apiserver on what it has restored, that asks its own node's etcd alone: another
// of its list may be a member of the former epoch that is still alive. The way back leaves the list as it was.
func TestStartsOnItsOwnEtcdAlone(t *testing.T) {
	p := recovery.Plan{Coordinator: "cp-1", Nodes: []recovery.PlanNode{{Name: "cp-1", PeerURL: "https://10.0.0.1:2380"}, {Name: "cp-2", PeerURL: "https://10.0.0.2:2380"}}}
	for _, row := range []struct {
		name string
		do   func(context.Context, *Run) error
		want bool
	}{
		{"the recovery node's", func(ctx context.Context, r *Run) error {
			_, err := r.do(ctx, recovery.Step{ID: recovery.StepControlPlane, Node: "cp-1"})
			return err
		}, true},
		{"that of a node that has joined", func(ctx context.Context, r *Run) error {
			v := etcd.View{Members: []etcd.Member{{ID: 2, Name: "cp-2", PeerURL: "https://10.0.0.2:2380", Health: etcd.Healthy}}}
			_, err := r.finishJoined(ctx, []recovery.Step{{ID: recovery.StepJoin + "/cp-2", Node: "cp-2"}}, v)
			return err
		}, true},
		{"the way back", func(ctx context.Context, r *Run) error {
			return r.undoStep(ctx, recovery.Step{ID: recovery.StepFence + "/cp-1", Node: "cp-1"})
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			j, err := Create(t.TempDir(), Header{ID: "20261127t090000z-0001", Plan: p}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			s := &starts{}
			r := New(j, Deps{Agent: func(recovery.PlanNode) (agentpb.AgentClient, error) { return s, nil }, Now: time.Now})
			if err := row.do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if len(s.alone) != 1 || s.alone[0] != row.want {
				t.Errorf("started %v", s.alone)
			}
		})
	}
}
