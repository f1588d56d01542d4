package apiservers

import (
	"fmt"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/etcd"
)

const loopback = "https://127.0.0.1:2379"

func at(n int) string { return fmt.Sprintf("https://10.0.0.%d:2379", n) }

func name(n int) string { return fmt.Sprint("cp-", n) }

// cluster of n nodes as kubeadm makes them: all well, each with its own member alone.
func cluster(n int) View {
	v := View{Others: 2}
	for i := 1; i <= n; i++ {
		v.Nodes = append(v.Nodes, Node{Name: name(i), Wanted: true, InService: true, Ready: true, Servers: []string{loopback}, Local: []string{loopback, at(i)}})
		v.Members = append(v.Members, Member{ID: uint64(i), Node: name(i), URLs: []string{at(i)}, Voter: true, Started: true, Health: etcd.Healthy}) //nolint:gosec // small
	}
	return v
}

// widened is a cluster whose lists are as this controller leaves them.
func widened(n int) View {
	v := cluster(n)
	for i := range v.Nodes {
		v.Nodes[i].Servers = v.list(v.Nodes[i], v.classify(v.Nodes[i]))
	}
	return v
}

// alone is a cluster whose API servers are to have their own member alone.
func alone(n int) View {
	v := cluster(n)
	v.Others = 0
	return v
}

type row struct {
	name    string
	view    View
	change  func(*View)
	node    string
	servers string
	reason  string
	waits   bool
}

func (r row) run(t *testing.T) {
	t.Helper()
	if r.change != nil {
		r.change(&r.view)
	}
	d := Decide(r.view)
	if d.Node != r.node || strings.Join(d.Servers, " ") != r.servers || d.Waits != r.waits || !strings.Contains(d.Reason, r.reason) || (r.reason == "") != (d.Reason == "") {
		t.Errorf("%+v", d)
	}
}

func TestDecide(t *testing.T) {
	l2, l3 := loopback+" "+at(2), loopback+" "+at(2)+" "+at(3)
	for _, r := range []row{
		{"one node: nothing to add", cluster(1), nil, "", "", "", false},
		{"two voters: both", cluster(2), nil, "cp-1", l2, "only 1 of 2 voters", false},
		{"three voters: all", cluster(3), nil, "cp-1", l3, "only 1 of 3 voters", false},
		{"five voters: three, and not the same two for all", cluster(5), func(v *View) { v.Nodes[0].Servers = strings.Fields(l3) }, "cp-2", loopback + " " + at(3) + " " + at(4), "only 1 of 5 voters", false},
		{"settled", widened(3), nil, "", "", "", false},
		{"settled with five", widened(5), nil, "", "", "", false},
		{"three to five costs no restart", widened(3), func(v *View) {
			five := cluster(5)
			v.Members, v.Nodes = five.Members, append(v.Nodes, widened(5).Nodes[3:]...)
		}, "", "", "", false},
		{"the next one when the first is done", cluster(3), func(v *View) { v.Nodes[0].Servers = strings.Fields(l3) }, "cp-2", loopback + " " + at(3) + " " + at(1), "only 1 of 3", false},

		{"(a) its own is not the first: its form stays", widened(3), func(v *View) { v.Nodes[1].Servers = []string{at(1), loopback, at(3)} }, "cp-2", loopback + " " + at(1) + " " + at(3), "not the first", false},
		{"(a) its own is not there at all", widened(3), func(v *View) { v.Nodes[1].Servers = []string{at(1)} }, "cp-2", loopback + " " + at(1) + " " + at(3), "not the first", false},
		{"(a) its certificate has no loopback name: its address", widened(3), func(v *View) {
			v.Nodes[1].Servers, v.Nodes[1].Local = []string{at(1), at(3)}, []string{at(2)}
		}, "cp-2", at(2) + " " + at(1) + " " + at(3), "not the first", false},
		{"its own by its address is as good as by loopback", widened(3), func(v *View) { v.Nodes[1].Servers[0] = at(2) }, "", "", "", false},
		{"its own as localhost, too", widened(3), func(v *View) { v.Nodes[1].Servers[0] = "https://localhost:2379" }, "", "", "", false},
		{"order behind the first is nobody's business", widened(3), func(v *View) { v.Nodes[1].Servers = []string{loopback, at(1), at(3)} }, "", "", "", false},

		{"(b) of no member", widened(3), func(v *View) { v.Nodes[0].Servers = []string{loopback, at(9), at(3)} }, "cp-1", loopback + " " + at(3) + " " + at(2), at(9) + " is no member's", false},
		{"(b) goes though a voter is down: it may be of a former epoch (I3)", widened(3), func(v *View) {
			v.Nodes[0].Servers, v.Members[1].Health = []string{loopback, at(9), at(3)}, etcd.Unhealthy
		}, "cp-1", loopback + " " + at(3), "no member's", false},
		{"(b) not while one has not said its URLs", widened(3), func(v *View) {
			v.Nodes[0].Servers = []string{loopback, at(2), at(3), at(9)}
			v.Members = append(v.Members, Member{ID: 9})
		}, "", "", "", false},
		{"(b) a name cannot be told, and stays (I23)", widened(3), func(v *View) { v.Nodes[0].Servers = []string{loopback, "https://etcd.example:2379"} }, "cp-1", l3 + " https://etcd.example:2379", "only 1 of 3", false},
		{"a name alone is no reason", widened(3), func(v *View) { v.Nodes[0].Servers = append(v.Nodes[0].Servers, "https://etcd.example:2379") }, "", "", "", false},
		{"none is a member's, and it serves: a person has to look", widened(3), func(v *View) {
			v.Nodes[0].Servers, v.Nodes[0].Local = []string{at(8), at(9)}, nil
		}, "", "", "a person has to look", true},
		{"none is a member's, and it does not serve", widened(3), func(v *View) {
			v.Nodes[0].Servers, v.Nodes[0].Ready = []string{at(8), at(9)}, false
		}, "cp-1", l3, "no member's", false},

		{"(c) a learner is no voter", widened(3), func(v *View) { v.Members[2].Voter = false }, "", "", "", false},
		{"(c) while it grows to three: once, and not twice", cluster(3), func(v *View) { v.Members = v.Members[:2] }, "", "", "growing", true},
		{"(c) a fourth that never comes is not waited for", cluster(3), func(v *View) { v.Nodes = append(v.Nodes, Node{Name: "cp-9", Wanted: true}) }, "cp-1", l3, "only 1 of 3", false},
		{"(c) a voter is down: with the next one the quorum is gone anyway", cluster(3), func(v *View) { v.Members[2].Health = etcd.Unhealthy }, "", "", "not enough voters are healthy", true},
		{"(c) a voter that is not seen is no voter that is healthy (I23)", cluster(3), func(v *View) { v.Members[2].Health = etcd.Unknown }, "", "", "not enough voters are healthy", true},
		{"(c) one of five is down: another is taken", cluster(5), func(v *View) { v.Members[1].Health = etcd.Unhealthy }, "cp-1", loopback + " " + at(3) + " " + at(4), "only 1 of 5", false},
		{"(c) a corrupt one is not added", cluster(5), func(v *View) { v.Members[1].Corrupt = true }, "cp-1", loopback + " " + at(3) + " " + at(4), "only 1 of 5", false},
		{"one in the list that is down stays (I23)", widened(3), func(v *View) { v.Members[2].Health = etcd.Unhealthy }, "", "", "", false},

		{"its own is down: it waits", cluster(3), func(v *View) { v.Members[0].Health = etcd.Unhealthy; v.Nodes = v.Nodes[:1] }, "", "", "its own member is not healthy", true},
		{"a node without a member of its own gets that first", widened(3), func(v *View) {
			v.Nodes = append(v.Nodes, Node{Name: "cp-9", Wanted: true, InService: true, Servers: []string{loopback, at(1)}})
		}, "", "", "", false},
		{"a node that is to have none", widened(3), func(v *View) {
			v.Nodes = append(v.Nodes, Node{Name: "cp-9", InService: true, Servers: []string{loopback}})
		}, "cp-9", at(1) + " " + at(2) + " " + at(3), "no member's", false},
		{"a node that is to have none: the first one answers", widened(3), func(v *View) {
			v.Members[0].Health = etcd.Unhealthy
			v.Nodes = append(v.Nodes, Node{Name: "cp-9", InService: true, Ready: true, Servers: []string{at(1), at(9), at(2)}})
		}, "cp-9", at(2) + " " + at(1) + " " + at(3), "no member's", false},

		{"no others are asked for: kubeadm's own stays", alone(3), nil, "", "", "", false},
		{"no others: (a) its own first, what is there stays", alone(3), func(v *View) { v.Nodes[1].Servers = []string{at(1)} }, "cp-2", loopback + " " + at(1), "not the first", false},
		{"no others: (b) what is no member's goes", alone(3), func(v *View) { v.Nodes[1].Servers = []string{loopback, at(9)} }, "cp-2", loopback, "no member's", false},
		{"no others: what was added before is not taken away", widened(3), func(v *View) { v.Others = 0 }, "", "", "", false},
		{"no others: a voter is down, and a list has to be mended (I23)", alone(3), func(v *View) {
			v.Nodes[1].Servers, v.Members[2].Health = []string{at(1), at(3)}, etcd.Unhealthy
		}, "cp-2", loopback + " " + at(1) + " " + at(3), "not the first", false},
		{"no others: it grows, and one that is wrong does not wait for that", alone(2), func(v *View) {
			v.Nodes[1].Servers = []string{at(1)}
			v.Members = append(v.Members, Member{ID: 3, Node: "cp-3", Started: true, URLs: []string{at(3)}, Health: etcd.Healthy})
		}, "cp-2", loopback + " " + at(1), "not the first", false},
		{"one other", cluster(3), func(v *View) { v.Others = 1 }, "cp-1", l2, "only 1 of 3", false},

		{"no list of the members (I23)", cluster(3), func(v *View) { v.Unread = "no quorum" }, "", "", "no quorum", false},
		{"a recovery is open (P17), a roll-out goes first (P22), Unmanaged", cluster(3), func(v *View) { v.Busy = "that first" }, "", "", "that first", true},
		{"busy, and nothing to change", widened(3), func(v *View) { v.Busy = "that first" }, "", "", "", false},
		{"one is not seen: it is left alone, the others go on (I23)", cluster(3), func(v *View) { v.Nodes[0] = Node{Name: "cp-1", Wanted: true, Unknown: "dark"} }, "cp-2", loopback + " " + at(3) + " " + at(1), "only 1 of 3", false},
		{"out of service: left alone", widened(3), func(v *View) { v.Nodes[0].Servers, v.Nodes[0].InService = []string{loopback}, false }, "", "", "", false},
		{"its manifest is young: kubeadm may be at work", cluster(1), func(v *View) { *v = cluster(3); v.Nodes = v.Nodes[:1]; v.Nodes[0].Young = true }, "", "", "a moment ago", true},

		{"one at a time: the last one is not back", cluster(3), func(v *View) { v.Last, v.Nodes[2].Servers = "cp-3", []string{loopback, at(1), at(2)} }, "", "", "cp-3 has to be back", true},
		{"one at a time: another restarts", cluster(3), func(v *View) { v.Nodes[2].Restarting = true }, "", "", "being restarted", true},
		{"another does not serve, and nothing helps it", cluster(3), func(v *View) {
			v.Nodes[2].Ready, v.Nodes[2].Servers = false, []string{loopback, at(1), at(2)}
		}, "", "", "cp-3 has to be ready", true},
		{"the one that does not serve is first", cluster(3), func(v *View) { v.Nodes[2].Ready = false }, "cp-3", loopback + " " + at(1) + " " + at(2), "only 1 of 3", false},
		{"the last that answers stays", cluster(3), func(v *View) {
			v.Nodes[1] = Node{Name: "cp-2", Wanted: true, Unknown: "dark"}
			v.Nodes[2] = Node{Name: "cp-3", Wanted: true, Unknown: "dark"}
		}, "", "", "the last one stays", true},
		{"the only one there is may be mended", cluster(1), func(v *View) { v.Nodes[0].Servers = []string{loopback, at(9)} }, "cp-1", loopback, "no member's", false},
	} {
		t.Run(r.name, r.run)
	}
}
