// Package maintenance has the members' databases looked after: defragmented, their alarms mended, their hashes compared.
// What is to be done is decided by internal/etcd/maintenance, and what can be done now is asked once more by the agent
// that does it.
package maintenance

import (
	"strings"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// What an EtcdCluster without these fields asks for: the API's defaults.
const (
	defaultFragmentation = 45
	defaultMinSize       = 100 << 20
)

// View is what the decision is made of. compacted: the history was compacted since NOSPACE was first seen.
func View(o observe.Observation, compacted bool) maintenance.View {
	m := o.Membership()
	v := maintenance.View{Cluster: m.View(o.Pause()), Compacted: compacted, Policy: policy(o.Cluster)}
	if o.Cluster == nil && v.Cluster.Pause.MayAct().OK {
		// What there is without one is nobody's wish.
		v.Cluster.Pause.Unmanaged = true
	}
	for _, x := range m.Members {
		s := maintenance.Member{ID: x.ID, Fenced: x.State.GetHoldId() == observe.FenceID(x.ID)}
		if e := x.Etcd; e != nil {
			s.Answers, s.DBSize, s.InUse, s.Quota = true, e.GetDbSize(), e.GetDbInUse(), e.GetQuota()
		}
		// One or two voters cannot be defragmented without a moment's standstill. It is accepted once the alternative is
		// near, which is that every write is refused.
		v.AcceptDowntime = v.AcceptDowntime || s.Quota > 0 && s.DBSize >= s.Quota/10*8
		v.Members = append(v.Members, s)
	}
	for _, a := range o.Alarms(m.ClusterID) {
		v.Alarms = append(v.Alarms, maintenance.Raised{Alarm: maintenance.Alarm(a.Kind), MemberID: a.MemberID})
	}
	return v
}

func policy(c *v1alpha1.EtcdCluster) maintenance.Policy {
	p := maintenance.Policy{MinSize: defaultMinSize, Fragmentation: defaultFragmentation / 100.}
	if c == nil {
		return p
	}
	d := c.Spec.Defragmentation
	p.Disabled = d.Mode == v1alpha1.DefragmentationDisabled
	if d.FragmentationPercent > 0 {
		p.Fragmentation = float64(d.FragmentationPercent) / 100
	}
	if n, err := d.MinSize.Bytes(); err == nil && n > 0 {
		p.MinSize = n
	}
	return p
}

// Release is a fence that has done its work.
type Release struct {
	Node observe.Node
	Hold string
}

// Releases are the fences whose member is not in the membership any more, as a quorum says. Held on, its guard would
// never learn that it is to wait for being added; released, it cannot start on what it has: its member was removed, so the
// guard sets the data aside. Nothing less than a quorum's word counts (I23).
func Releases(o observe.Observation) []Release {
	m := o.Membership()
	if !m.Serves || !o.Pause().MayAct().OK {
		return nil
	}
	listed := map[string]bool{}
	for _, x := range m.Members {
		listed[observe.FenceID(x.ID)] = true
	}
	var out []Release
	for _, n := range o.Nodes {
		hold := n.State.GetHoldId()
		if strings.HasPrefix(hold, observe.FencePrefix) && !listed[hold] && n.Err == "" {
			out = append(out, Release{n, hold})
		}
	}
	return out
}

// Removable is the corrupt member that may be taken out of the membership: fenced, and the others carry the quorum.
func Removable(v maintenance.View) (uint64, string, bool) {
	for _, r := range v.Alarms {
		if r.Alarm != maintenance.Corrupt {
			continue
		}
		for _, m := range v.Members {
			if m.ID != r.MemberID || !m.Fenced {
				continue
			}
			if can := etcd.CanRemoveVoter(v.Cluster, m.ID); can.OK {
				return m.ID, v.Cluster.Label(m.ID) + " is corrupt and out of service, and " + can.Reason + ": it is removed, and added again", true
			}
		}
	}
	return 0, "", false
}
