package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/adopt"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/kubeapi"
	"clusteretcd.io/ceo/internal/staticpod"
)

// The paths of the API that an adoption reads and writes.
const (
	groupPath   = "/apis/clusteretcd.io/v1alpha1"
	clusterPath = groupPath + "/etcdclusters/" + v1alpha1.ClusterName
)

// adoptFacts asks the API which nodes there are and how etcd is started there, and the agents for the rest.
func adoptFacts(ctx context.Context, api *kubeapi.Client, ob *agentpb.Observation, accept []string) (adopt.Facts, error) {
	f := adopt.Facts{Cluster: ob.GetClusterName(), AcceptDowntime: slices.Contains(accept, riskDowntime)}
	var cluster v1alpha1.EtcdCluster
	switch err := api.Get(ctx, clusterPath, &cluster); {
	case err == nil:
		f.Exists, f.Managed = true, cluster.Spec.ManagementState == v1alpha1.Managed
	case errors.Is(err, kubeapi.ErrNotFound):
		if err := api.Get(ctx, groupPath, &struct{}{}); errors.Is(err, kubeapi.ErrNotFound) {
			f.NoCRD = true
		} else if err != nil {
			return f, err
		}
	default:
		return f, fmt.Errorf("the EtcdCluster: %w", err)
	}
	var nodes corev1.NodeList
	if err := api.Get(ctx, "/api/v1/nodes?labelSelector="+url.QueryEscape("node-role.kubernetes.io/control-plane"), &nodes); err != nil {
		return f, fmt.Errorf("the control-plane nodes: %w", err)
	}
	var pods corev1.PodList
	if err := api.Get(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector="+url.QueryEscape("component=etcd,tier=control-plane"), &pods); err != nil {
		return f, fmt.Errorf("etcd's pods: %w", err)
	}
	for _, n := range nodes.Items {
		f.Nodes = append(f.Nodes, adoptNode(n.Name, pods.Items, ob))
	}
	for _, n := range ob.GetNodes() {
		if r := n.GetRecovery(); r.GetId() != "" {
			f.Recovery = r.GetId()
		}
		if !n.GetEtcd().GetMembersLinearizable() {
			continue
		}
		for _, m := range n.GetEtcd().GetMembers() {
			known := slices.ContainsFunc(f.Nodes, func(x adopt.Node) bool { return x.Name == m.GetName() })
			if !known && !slices.Contains(f.Stray, m.GetName()) {
				f.Stray = append(f.Stray, m.GetName())
			}
		}
	}
	return f, nil
}

func adoptNode(name string, pods []corev1.Pod, ob *agentpb.Observation) adopt.Node {
	// etcd's own defaults, where a flag is not given.
	out := adopt.Node{Name: name, Why: "the agents that answer do not know this node", Heartbeat: 100, Election: 1000}
	for _, n := range ob.GetNodes() {
		if n.GetName() != name {
			continue
		}
		if out.Why = n.GetUnreachable(); out.Why != "" {
			break
		}
		e := n.GetEtcd()
		out.Agent, out.Guarded, out.Version, out.Quota = true, n.GetGuard().GetInstalled(), e.GetVersion(), e.GetQuota()
		out.Leader = e.GetMemberId() != "" && e.GetMemberId() == e.GetLeaderId()
		out.Voter = e.GetMemberId() != "" && !e.GetLearner()
		out.Healthy = e.GetAnswers() && e.GetHasLeader() && len(e.GetAlarms()) == 0 && (!out.Guarded || n.GetGuard().GetState() == "running")
		if !out.Healthy {
			out.Why = cmp.Or(e.GetError(), n.GetGuard().GetReason(), n.GetGuard().GetError(), "it has no leader, or an alarm is raised")
		}
	}
	for i := range pods {
		if pods[i].Spec.NodeName != name {
			continue
		}
		flags, err := staticpod.EtcdFlags(&pods[i])
		if err != nil {
			continue // what the agent says is what counts
		}
		for flag, to := range map[string]*int{"heartbeat-interval": &out.Heartbeat, "election-timeout": &out.Election} {
			if v, err := strconv.Atoi(flags.All[flag]); err == nil {
				*to = v
			}
		}
	}
	return out
}
