package ui

import "time"

// Verdict on a cluster.
type Verdict string

// The verdicts.
const (
	Healthy    Verdict = "healthy"
	Degraded   Verdict = "degraded"
	NoQuorum   Verdict = "no-quorum"
	Recovering Verdict = "recovering"
)

// View is `ceo status`: one screen, or its JSON.
type View struct {
	Cluster string  `json:"cluster"`
	Verdict Verdict `json:"verdict"`
	// Why lists what keeps the cluster from being healthy.
	Why []string `json:"why,omitempty"`
	// Voters that there should be; those whose etcd answers; and those that are
	// healthy, too.
	Voters        int        `json:"voters"`
	VotersUp      int        `json:"votersUp"`
	HealthyVoters int        `json:"healthyVoters"`
	EtcdVersion   string     `json:"etcdVersion,omitempty"`
	APIServer     APIServer  `json:"apiServer"`
	SeenFrom      string     `json:"seenFrom"`
	At            time.Time  `json:"at"`
	Epoch         int64      `json:"epoch,omitempty"`
	Nodes         []NodeView `json:"nodes"`
	// AgentDown says why this node's own agent could not be asked: then all the
	// rest comes from files on this node and from peers that were asked directly.
	AgentDown string        `json:"agentDown,omitempty"`
	Certs     []CertView    `json:"certificates,omitempty"`
	Disks     []DiskView    `json:"disks,omitempty"`
	Archive   []ArchiveView `json:"archive,omitempty"`
	Recovery  *RecoveryView `json:"recovery,omitempty"`
	// Backups is nil where they could not be asked for.
	Backups *BackupView `json:"backups,omitempty"`
	// Conflicts between lineages: two recoveries that were run apart.
	Conflicts []string `json:"conflicts,omitempty"`
	Notes     []string `json:"notes,omitempty"`
	// Next is what to type, most urgent first.
	Next []string `json:"next,omitempty"`
}

// APIServer is how many of the asked nodes' API servers are ready.
type APIServer struct {
	Ready int `json:"ready"`
	Asked int `json:"asked"`
	// Down are the nodes whose API server is not ready, with their reason.
	Down []APIDown `json:"down,omitempty"`
}

// APIDown is a kube-apiserver that is not ready.
type APIDown struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// NodeView is a row of the table.
type NodeView struct {
	Name     string `json:"name"`
	MemberID string `json:"memberID,omitempty"`
	// Role: leader, follower, learner or "" (no member answers there).
	Role string `json:"role,omitempty"`
	// Voter: it is listed as a member that votes, or it should become one.
	Voter bool `json:"voter"`
	Ok    bool `json:"ok"`
	// Health in a word or two, Detail in the words of who saw it.
	Health      string `json:"health"`
	Detail      string `json:"detail,omitempty"`
	Unreachable bool   `json:"unreachable,omitempty"`
	// Former: it is no member and does not answer, so it counts for nothing.
	Former    bool   `json:"former,omitempty"`
	DBSize    int64  `json:"dbSize,omitempty"`
	DBInUse   int64  `json:"dbInUse,omitempty"`
	RaftIndex uint64 `json:"raftIndex,omitempty"`
	// Lag is how many raft entries it has yet to apply; nil without a leader.
	Lag      *uint64 `json:"lag,omitempty"`
	Revision int64   `json:"revision,omitempty"`
	PeerURL  string  `json:"peerURL,omitempty"`
	// Guard's last decision.
	Guard *GuardView `json:"guard,omitempty"`
	// Held is the id of what holds its etcd.
	Held string `json:"held,omitempty"`
	// Kubelet is inactive or failed, or "" where it is neither.
	Kubelet    string `json:"kubelet,omitempty"`
	CeoVersion string `json:"ceoVersion,omitempty"`
}

// GuardView is what the guard decided last.
type GuardView struct {
	Installed bool   `json:"installed"`
	State     string `json:"state,omitempty"`
	Answer    string `json:"answer,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Error     string `json:"error,omitempty"`
}

// CertView is a certificate that needs a person soon.
type CertView struct {
	Node     string    `json:"node"`
	Name     string    `json:"name"`
	NotAfter time.Time `json:"notAfter"`
	Expired  bool      `json:"expired"`
}

// DiskView is a data disk that is filling.
type DiskView struct {
	Node  string `json:"node"`
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
}

// ArchiveView is how many data dirs a node has set aside.
type ArchiveView struct {
	Node    string    `json:"node"`
	Entries int       `json:"entries"`
	Newest  time.Time `json:"newest"`
	Path    string    `json:"path"`
}

// RecoveryView is a recovery that is open.
type RecoveryView struct {
	ID string `json:"id"`
	// Coordinator is the node whose agent runs it.
	Coordinator string    `json:"coordinator"`
	State       string    `json:"state"`
	Step        string    `json:"step,omitempty"`
	Error       string    `json:"error,omitempty"`
	Started     time.Time `json:"started"`
	WaitingFor  []string  `json:"waitingFor,omitempty"`
}

// BackupView is what there is to restore from.
type BackupView struct {
	Store string `json:"store,omitempty"`
	Count int    `json:"count"`
	// Unusable are those with a problem: damaged, or not readable now.
	Unusable int `json:"unusable,omitempty"`
	// Newest good one, and when the newest proven one was proven.
	Newest   time.Time `json:"newest,omitzero"`
	Revision int64     `json:"revision,omitempty"`
	Proven   time.Time `json:"proven,omitzero"`
	// Error is why the store could not be read.
	Error string `json:"error,omitempty"`
}

// Well reports whether nothing is wrong.
func (v View) Well() bool { return v.Verdict == Healthy }

func (v View) node(name string) (NodeView, bool) {
	for _, n := range v.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return NodeView{}, false
}
