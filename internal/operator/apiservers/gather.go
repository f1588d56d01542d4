package apiservers

import (
	"slices"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// viewOf makes the decision's view of a look and of what the controllers that go first say.
func viewOf(o observe.Observation, first []report.Report, young time.Duration, last string) View {
	m := o.Membership()
	v := View{Last: last, Busy: busy(o, m, first), Others: int(o.Cluster.Spec.APIServers.OtherMembers)}
	switch {
	case m.Conflict != "":
		v.Unread = "the nodes do not agree on which cluster lives: " + m.Conflict
	case !m.Serves:
		v.Unread = "no quorum gave the members"
	}
	urls := clientURLs(o, m.ClusterID)
	for _, x := range m.Members {
		v.Members = append(v.Members, Member{
			ID: x.ID, Node: x.Node, URLs: urls[node.FormatID(x.ID)], Started: x.Started(), Voter: x.Voter() && x.Started(),
			Health: x.Health, Corrupt: x.Corrupt,
		})
	}
	for _, n := range o.Nodes {
		v.Nodes = append(v.Nodes, nodeOf(n, young))
	}
	return v
}

func nodeOf(n observe.Node, young time.Duration) Node {
	out := Node{Name: n.Name, Wanted: n.Wanted}
	api, list := n.State.GetApiServer(), n.State.GetApiServer().GetEtcd()
	switch {
	case n.State == nil || n.Err != "":
		out.Unknown = "its agent does not answer" // an answer of before says nothing about now
		return out
	case list == nil:
		out.Unknown = "its agent says nothing of kube-apiserver's list"
	case list.GetError() != "":
		out.Unknown = list.GetError()
	}
	out.InService = slices.ContainsFunc(n.State.GetManifests(), func(m *agentpb.Manifest) bool {
		return m.GetName() == "kube-apiserver" && m.GetState() == "in-service"
	})
	out.Ready, out.Restarting = api.GetReady(), list.GetRestarting()
	out.Servers, out.Local = list.GetServers(), list.GetLocal()
	out.Young = time.Duration(list.GetUnchangedForMs())*time.Millisecond < young
	return out
}

// clientURLs are all that a quorum says of each member, by its id.
func clientURLs(o observe.Observation, clusterID string) map[string][]string {
	out := map[string][]string{}
	for _, n := range o.Nodes {
		e := n.State.GetEtcd()
		if e.GetClusterId() != clusterID || !e.GetMembersLinearizable() {
			continue
		}
		for _, x := range e.GetMembers() {
			for _, u := range x.GetClientUrls() {
				if !slices.Contains(out[x.GetId()], u) {
					out[x.GetId()] = append(out[x.GetId()], u)
				}
			}
		}
	}
	return out
}

// busy is why no API server may be restarted now.
func busy(o observe.Observation, m observe.Membership, first []report.Report) string {
	if may := m.View(o.Pause()).Pause.MayAct(); !may.OK {
		return may.Reason
	}
	if n := o.Cluster.GetAnnotations()[v1alpha1.AdoptingAnnotation]; n != "" {
		return n + " is being adopted"
	}
	for _, x := range m.Members {
		if x.Restarting {
			return "etcd on " + x.Node + " has to be through its restart"
		}
		if x.State.GetHoldId() != "" && x.Health != etcd.Healthy {
			return "etcd on " + x.Node + " is held"
		}
	}
	for _, r := range first {
		if p := r.Progressing; p != nil && !p.Waits {
			return p.Message
		}
	}
	return ""
}
