package observe

import (
	"slices"
	"strconv"

	"clusteretcd.io/ceo/internal/node"
)

// Alarm is one that is raised.
type Alarm struct {
	Kind     string
	MemberID uint64
}

// Alarms are all that any etcd of the cluster reports, those of members that are gone included.
func (o Observation) Alarms(clusterID string) []Alarm {
	var out []Alarm
	for _, n := range o.Nodes {
		e := n.State.GetEtcd()
		if !e.GetAnswers() || e.GetClusterId() != clusterID {
			continue
		}
		for _, text := range e.GetAlarms() {
			for _, f := range alarm.FindAllStringSubmatch(text, -1) {
				id, err := strconv.ParseUint(f[1], 10, 64)
				if a := (Alarm{f[2], id}); err == nil && !slices.Contains(out, a) {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// FencePrefix begins the id of a hold on a member that is corrupt; the member's id follows.
const FencePrefix = "corrupt/"

// FenceID is the hold that fences a member.
func FenceID(member uint64) string { return FencePrefix + node.FormatID(member) }

// fencedAsCorrupt: the fence is kept on the node's disk, so it outlasts an alarm that somebody disarms by hand. What
// was found corrupt stays so until it is removed.
func fencedAsCorrupt(m Member) bool { return m.State.GetHoldId() == FenceID(m.ID) }
