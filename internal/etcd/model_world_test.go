package etcd_test

import (
	"fmt"
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
)

// tick is how much time one round takes.
const tickSeconds = 10

// machine is a machine as it really is. What an operator sees of it is less.
type machine struct {
	name, url string
	wanted    bool // there is a Node that stands for it
	exists    bool
	up        bool
	frozen    bool // neither dead nor alive
	cut       bool // from everyone
	silent    bool // its agent
	data      uint64
	corrupt   bool
	waste     bool // its database is mostly free pages
	applied   int
	// The static pod: see rollout.Node.
	placed, running, lastGood, rolledFrom string
	placedAt                              int
	ill                                   bool
	restarting, defrag                    bool
}

func (m *machine) reachable() bool { return m.exists && m.up && !m.frozen && !m.cut }

type member struct {
	id        uint64
	name, url string // name: once it has started
	learner   bool
}

// world is the truth.
type world struct {
	now      int // ticks
	machines []*machine
	members  []member
	version  int // counts the changes of the membership
	nextID   uint64
	nextURL  int
	leader   uint64
	commit   int

	target    string
	unmanaged bool
	recovery  string

	operators []*operator
	lock      *operator
	// taken are the members that an operator has stopped or is about to.
	taken map[uint64]bool
}

func (w *world) address() string {
	w.nextURL++
	return fmt.Sprintf("https://10.0.0.%d:2380", w.nextURL)
}

// newWorld is a settled cluster of n, or one bootstrap member and n nodes that
// wait to be added.
func newWorld(n int, bootstrap bool) *world {
	w := &world{target: "r1", commit: 1, taken: map[uint64]bool{}}
	if bootstrap {
		w.join("bootstrap", true).wanted = false
	}
	for i := range n {
		w.join(fmt.Sprintf("cp-%d", i+1), !bootstrap)
	}
	w.leader = w.members[0].id
	return w
}

func (w *world) join(name string, voter bool) *machine {
	m := &machine{name: name, url: w.address(), wanted: true, exists: true, up: true, placed: "r1", running: "r1", lastGood: "r1"}
	if voter {
		w.nextID++
		m.data = w.nextID
		w.members = append(w.members, member{id: w.nextID, name: name, url: m.url})
	}
	w.machines = append(w.machines, m)
	return m
}

func (w *world) member(id uint64) *member {
	for i := range w.members {
		if w.members[i].id == id {
			return &w.members[i]
		}
	}
	return nil
}

func (w *world) at(url string) *machine {
	for _, m := range w.machines {
		if m.exists && m.url == url {
			return m
		}
	}
	return nil
}

// home is the machine that holds the member's data, wherever it is now.
func (w *world) home(id uint64) *machine {
	for _, m := range w.machines {
		if m.exists && m.data == id {
			return m
		}
	}
	return nil
}

// serves: the member can be reached where the membership says, with its data,
// and its etcd runs.
func (w *world) serves(m member) bool {
	at := w.at(m.url)
	return at != nil && at.reachable() && at.data == m.id && m.name != "" && !at.restarting && !at.defrag && !broken(at.running)
}

// intact: it would serve if all that is down now came back.
func (w *world) intact(m member) bool {
	at := w.at(m.url)
	return at != nil && at.data == m.id && !at.corrupt
}

func broken(revision string) bool { return strings.HasPrefix(revision, "broken") }

// unread: no kubelet takes up its manifest, and the container of before stays.
func unread(revision string) bool { return strings.HasPrefix(revision, "unread") }

func (w *world) count(of func(member) bool) (all, ok int) {
	for _, m := range w.members {
		if !m.learner {
			all++
			if of(m) {
				ok++
			}
		}
	}
	return all, ok
}

func (w *world) quorate(of func(member) bool) bool {
	all, ok := w.count(of)
	return ok >= etcd.Quorum(all)
}

// spare: the machines may be damaged for good and the cluster still heal by
// itself. More than that is a recovery's, not an operator's; so is what breaks
// in the moment between an operator's last look and the change it makes.
func (w *world) spare(lost ...*machine) bool {
	whole := func(m member) bool { return w.intact(m) && !slices.Contains(lost, w.at(m.url)) }
	after := world{machines: w.machines, members: slices.Clone(w.members)}
	for _, o := range w.operators {
		a, ok := o.do.(etcd.Action)
		if x := after.member(a.MemberID); ok && o.stage == "checked" && x != nil {
			switch a.Kind {
			case etcd.Promote:
				x.learner = false
			case etcd.Remove:
				x.learner = true // as good as gone
			}
		}
	}
	return w.quorate(whole) && after.quorate(whole)
}

// node is one round of a machine's kubelet, guard and etcd.
func (w *world) node(m *machine, catchUp int) {
	if !m.exists || !m.up || m.frozen {
		return
	}
	switch {
	case m.placed != m.running && !unread(m.placed):
		m.running, m.restarting = m.placed, true
	case m.restarting:
		m.restarting = false
	case m.defrag:
		m.defrag, m.waste = false, false
	}
	if m.cut || !w.quorate(w.serves) {
		return
	}
	// The guard, with a list that a quorum confirms.
	if m.data != 0 && w.member(m.data) == nil {
		m.data, m.corrupt, m.waste = 0, false, false
	}
	for i := range w.members {
		if x := &w.members[i]; m.data == 0 && x.name == "" && x.url == m.url && !w.ran(m) {
			m.data, m.applied, x.name = x.id, 0, m.name
		}
	}
	x := w.member(m.data)
	if x == nil || !w.serves(*x) {
		return
	}
	if m.applied = min(m.applied+catchUp, w.commit); !x.learner {
		m.applied = w.commit
	}
	if m.placed == m.running {
		m.lastGood = m.placed
		delete(w.taken, x.id)
	}
}

// ran: the membership lists a member that has run under the machine's name or
// address, as the guard asks.
func (w *world) ran(m *machine) bool {
	return slices.ContainsFunc(w.members, func(x member) bool { return x.name != "" && (x.name == m.name || x.url == m.url) })
}

func (w *world) added(m *machine) bool {
	return slices.ContainsFunc(w.members, func(x member) bool { return x.name == "" && x.url == m.url })
}

// elect is what raft does where the leader cannot be reached.
func (w *world) elect() {
	if m := w.member(w.leader); m != nil && !m.learner && w.serves(*m) {
		return
	}
	w.leader = 0
	if !w.quorate(w.serves) {
		return
	}
	for _, m := range w.members {
		if !m.learner && w.serves(m) {
			w.leader = m.id
			return
		}
	}
}
