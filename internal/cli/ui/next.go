package ui

import (
	"fmt"
	"slices"
	"strings"
)

// next is what to type, most urgent first; nothing where all is well. What
// comes first has to be done before the rest makes sense.
func next(v View) []string {
	if len(v.Conflicts) > 0 {
		return []string{"two recoveries were run apart from each other: find out which cluster is to live before anything is started; then wipe the data of the other's nodes"}
	}
	if v.Recovery != nil {
		return nextInRecovery(v)
	}
	if v.AgentDown != "" {
		return []string{"crictl ps -a --name ceo-agent", "systemctl status kubelet", "ceo node install   (repairs this node's agent; needs a living etcd)"}
	}
	if v.Verdict == NoQuorum {
		return []string{"ceo recover --plan"}
	}
	var cmds []string
	add := func(format string, args ...any) {
		if c := fmt.Sprintf(format, args...); !slices.Contains(cmds, c) {
			cmds = append(cmds, c)
		}
	}
	for _, c := range v.Certs {
		if c.Expired && !strings.HasPrefix(c.Name, "ceo/") {
			add("kubeadm certs renew all   (on %s)", c.Node)
		}
	}
	for _, n := range v.Nodes {
		switch {
		case n.Ok, n.Former:
		case n.Unreachable:
			add("on %s: systemctl status kubelet; crictl ps -a --name ceo-agent", n.Name)
		case n.Health == "data lost" && n.MemberID != "":
			add("etcdctl member remove %s   (then %s waits to be added)", n.MemberID, n.Name)
		case n.Health == "waits" && n.MemberID == "" && n.PeerURL != "":
			add("etcdctl member add %s --learner --peer-urls=%s   (and promote it once it has caught up)", n.Name, n.PeerURL)
		case n.Health == "alarm":
			add("etcdctl alarm list   (free space, compact and defragment, then `etcdctl alarm disarm`)")
		case n.Health == "down":
			add("on %s: crictl ps -a --name etcd; crictl logs of the last one", n.Name)
		}
	}
	for _, d := range v.APIServer.Down {
		if n, ok := v.node(d.Node); ok && n.Ok {
			add("on %s: crictl ps -a --name kube-apiserver; crictl logs of the last one", d.Node)
		}
	}
	for _, n := range v.Nodes {
		if n.Kubelet != "" {
			add("on %s: systemctl start kubelet; journalctl -u kubelet", n.Name)
		}
		if n.Guard != nil && !n.Guard.Installed && !n.Unreachable {
			add("ceo node install   (on %s, whose etcd has no guard)", n.Name)
		}
	}
	return cmds
}

func nextInRecovery(v View) []string {
	r := v.Recovery
	on := ""
	if r.Coordinator != v.SeenFrom {
		on = "   (on " + r.Coordinator + ")"
	}
	if r.State == "failed" {
		return []string{"ceo recover --resume" + on, "ceo recover --abort" + on + "   (before its point of no return only)"}
	}
	var dark []string
	for _, w := range r.WaitingFor {
		if n, ok := v.node(w); ok && n.Unreachable {
			dark = append(dark, w)
		}
	}
	if len(dark) > 0 && len(dark) == len(r.WaitingFor) {
		cmds := []string{fmt.Sprintf("boot %s: it joins by itself", strings.Join(dark, " and "))}
		for _, d := range dark {
			cmds = append(cmds, fmt.Sprintf("ceo recover --let-go %s   (if it will not come back)", d)+on)
		}
		return cmds
	}
	return []string{"ceo recover --resume" + on + "   (watches it)"}
}
