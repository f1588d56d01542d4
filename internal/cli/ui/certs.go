package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

// CertsView is every certificate of every node, and how far a change of the CA is.
type CertsView struct {
	Cluster string      `json:"cluster"`
	At      time.Time   `json:"at"`
	Nodes   []CertsNode `json:"nodes"`
	Due     int         `json:"due"`
	Change  *CAChange   `json:"caChange,omitempty"`
}

// CertsNode is one node's.
type CertsNode struct {
	Name string `json:"name"`
	// Unknown is why they could not be looked at.
	Unknown      string            `json:"unknown,omitempty"`
	Certificates []CertificateView `json:"certificates"`
}

// CertificateView is one certificate.
type CertificateView struct {
	Name     string    `json:"name"`
	NotAfter time.Time `json:"validUntil"`
	// SignedBy is the CA of etcd's that signed it, "" for another's.
	SignedBy string `json:"signedBy,omitempty"`
	// Due is what has to be done about it, "" for nothing.
	Due string `json:"due,omitempty"`
	// Problem: it should have been done already, or a person has to do it.
	Problem bool `json:"problem"`
}

// CAChange is a change of the CA under way.
type CAChange struct {
	Reason  string `json:"reason,omitempty"`
	CA      string `json:"ca"`
	Phase   string `json:"phase"`
	Next    string `json:"next"`
	Waiting bool   `json:"waiting"`
}

// Certs says of an observation what is due.
func Certs(o *agentpb.Observation, now time.Time) CertsView {
	v := CertsView{Cluster: o.GetClusterName(), At: now.UTC(), Nodes: []CertsNode{}}
	for _, n := range o.GetNodes() {
		c := CertsNode{Name: n.GetName(), Unknown: n.GetUnreachable(), Certificates: []CertificateView{}}
		if c.Unknown == "" {
			c.Unknown = n.GetCertificatesError()
		}
		if c.Unknown != "" {
			v.Due++
		}
		life := time.Duration(n.GetSettings().GetLeafLife()) * time.Second
		for _, x := range n.GetCertificates() {
			w := certificateView(x, life, now)
			if w.Problem {
				v.Due++
			}
			c.Certificates = append(c.Certificates, w)
		}
		slices.SortFunc(c.Certificates, func(a, b CertificateView) int { return strings.Compare(a.Name, b.Name) })
		v.Nodes = append(v.Nodes, c)
	}
	slices.SortFunc(v.Nodes, func(a, b CertsNode) int { return strings.Compare(a.Name, b.Name) })
	v.Change = caChange(o)
	return v
}

// year is how long a certificate lives where nothing is asked for.
const year = 365 * 24 * time.Hour

func certificateView(c *agentpb.Certificate, life time.Duration, now time.Time) CertificateView {
	v := CertificateView{Name: certificateName(c.GetPath()), NotAfter: c.GetNotAfter().AsTime(), SignedBy: c.GetSignedBy()}
	left := v.NotAfter.Sub(now)
	if life <= 0 {
		life = year
	}
	// It begins when its CA does, so that its begin does not tell its age.
	life = min(life, v.NotAfter.Sub(c.GetNotBefore().AsTime()))
	ca := strings.HasSuffix(v.Name, "/ca") || v.Name == "ca" || strings.HasSuffix(v.Name, "-ca")
	ours := v.SignedBy != "" && !ca
	switch {
	case left <= 0:
		v.Due, v.Problem = "EXPIRED "+age(-left)+" ago", true
	case ours && left < life/4:
		v.Due, v.Problem = "should have been renewed: see the agent's log", true
	case ours && left < life/3:
		v.Due = "is renewed by the agent now"
	case ca && v.Name == "etcd/ca" && left < 180*24*time.Hour && left < life/3:
		v.Due, v.Problem = "ceo certs rotate-ca", true
	case !ours && left < 30*24*time.Hour:
		v.Due, v.Problem = "kubeadm's: kubeadm certs renew", true
	}
	return v
}

// certificateName is the path as people know it.
func certificateName(path string) string {
	name := strings.TrimSuffix(path, ".crt")
	if _, after, ok := strings.Cut(name, "/etc/kubernetes/pki/"); ok {
		return after
	}
	if _, after, ok := strings.Cut(name, "/var/lib/ceo/"); ok {
		return "ceo/" + strings.TrimPrefix(strings.TrimPrefix(after, "pki/"), "operator/")
	}
	return name
}

func caChange(o *agentpb.Observation) *CAChange {
	nodes := client.RotationNodes(o.GetNodes())
	i := slices.IndexFunc(nodes, func(n rotation.Node) bool { return n.Unknown == "" && rotation.Unfinished(n) })
	next := rotation.Target(nodes)
	if next == "" {
		if i < 0 {
			return nil
		}
		next = nodes[i].Target
	}
	a := rotation.Decide(next, nodes)
	c := &CAChange{CA: next, Phase: string(a.Phase), Next: a.Reason, Waiting: a.Kind == rotation.Wait}
	for _, n := range nodes {
		if n.Target == next && c.Reason == "" {
			c.Reason = n.Reason
		}
	}
	return c
}

// CertsText is the screen.
func CertsText(v CertsView, s Style) string {
	var b strings.Builder
	rows := [][]string{{"NODE", "CERTIFICATE", "EXPIRES", "IN", "SIGNED BY", "DUE"}}
	for _, n := range v.Nodes {
		for _, c := range n.Certificates {
			by := "-"
			if c.SignedBy != "" {
				by = fmt.Sprintf("%.12s", strings.ToLower(c.SignedBy))
			}
			rows = append(rows, []string{n.Name, c.Name, c.NotAfter.UTC().Format("2006-01-02 15:04"), age(c.NotAfter.Sub(v.At)), by, c.Due})
		}
		if n.Unknown != "" {
			rows = append(rows, []string{n.Name, "unknown: " + n.Unknown})
		}
	}
	for _, l := range table(rows) {
		b.WriteString(l + "\n")
	}
	if c := v.Change; c != nil {
		fmt.Fprintf(&b, "CA change  to %.12s, %s", strings.ToLower(c.CA), c.Phase)
		if c.Reason != "" {
			fmt.Fprintf(&b, " (%s)", c.Reason)
		}
		word := "next"
		if c.Waiting {
			word = s.warn("waits")
		}
		fmt.Fprintf(&b, "\n           %s: %s\n", word, c.Next)
	}
	if v.Due > 0 {
		fmt.Fprintf(&b, "%s\n", s.bad(fmt.Sprintf("✗ %d to be looked at", v.Due)))
	} else {
		fmt.Fprintf(&b, "%s\n", s.good("✔ nothing is overdue"))
	}
	return b.String()
}

// CAPlan is what a change of the CA will do.
type CAPlan struct {
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
	// Done: it was changed for this reason already. UnderWay: the change for it goes on.
	Done     bool     `json:"done"`
	UnderWay bool     `json:"underWay"`
	Steps    []string `json:"steps"`
	Refused  []string `json:"refused,omitempty"`
	Besides  []string `json:"besides,omitempty"`
}

// PlanCA of what was observed.
func PlanCA(o *agentpb.Observation, reason string) CAPlan {
	p := CAPlan{Cluster: o.GetClusterName(), Reason: reason, Steps: []string{}}
	nodes := client.RotationNodes(o.GetNodes())
	for i, n := range o.GetNodes() {
		switch e := n.GetEtcd(); {
		case nodes[i].Unknown != "":
			p.Refused = append(p.Refused, n.GetName()+" cannot be looked at: "+nodes[i].Unknown)
		case !e.GetAnswers() || !e.GetHasLeader():
			p.Refused = append(p.Refused, "etcd on "+n.GetName()+" does not serve: "+e.GetError())
		}
		if r := n.GetRecovery(); r.GetId() != "" {
			p.Refused = append(p.Refused, "recovery "+r.GetId()+" is open on "+n.GetName())
		}
	}
	change := caChange(o)
	p.UnderWay = change != nil && change.Reason == reason
	p.Done = change == nil && len(p.Refused) == 0 && slices.ContainsFunc(nodes, func(n rotation.Node) bool { return n.Reason == reason && n.Target == n.Signing })
	if p.Done || p.UnderWay || len(p.Refused) > 0 {
		return p
	}
	var names, restarts []string
	last := ""
	for _, n := range slices.SortedFunc(slices.Values(nodes), func(a, b rotation.Node) int { return strings.Compare(a.Name, b.Name) }) {
		names = append(names, n.Name)
		if n.Leads {
			last = n.Name + " (leads, hands over first)"
			continue
		}
		restarts = append(restarts, n.Name)
	}
	if last != "" {
		restarts = append(restarts, last)
	}
	all, one := strings.Join(names, ", "), strings.Join(restarts, ", then ")
	p.Steps = []string{
		"TrustBoth    a new CA, trusted beside the present one on " + all,
		"             etcd and kube-apiserver restarted, one node at a time: " + one,
		"IssueLeaves  every certificate signed by the new CA on " + all + "; nothing is restarted",
		"TrustNew     the present CA out of the bundle on " + all + "; its key stays in /var/lib/ceo/etcd-ca",
		"             etcd and kube-apiserver restarted, one node at a time: " + one,
	}
	p.Besides = []string{
		"whoever else holds a certificate of etcd's CA or a copy of it (Prometheus, backup jobs, laptops) needs new ones before TrustNew",
		"make a backup afterwards: older ones hold the old CA",
	}
	return p
}

// CAPlanText is the plan for a person.
func CAPlanText(p CAPlan) string {
	var b strings.Builder
	switch {
	case p.Done:
		return fmt.Sprintf("the CA of %s was changed for %q already: nothing to do; give another reason to change it again\n", p.Cluster, p.Reason)
	case p.UnderWay:
		return fmt.Sprintf("the change of the CA of %s for %q is under way\n", p.Cluster, p.Reason)
	}
	b.WriteString(labelled("Refused", 9, p.Refused))
	b.WriteString(labelled("Plan", 9, p.Steps))
	b.WriteString(labelled("Besides", 9, p.Besides))
	return b.String()
}
