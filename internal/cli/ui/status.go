package ui

import (
	"fmt"
	"strings"
)

var verdictWords = map[Verdict]string{
	Healthy: "✔ healthy", Degraded: "✗ DEGRADED", NoQuorum: "✗ NO QUORUM", Recovering: "✗ RECOVERING",
}

// Status is the screen. verbose shows the guard's last decision of every node,
// not of those alone that are not well.
func Status(v View, verbose bool, s Style) string {
	var b strings.Builder
	word := verdictWords[v.Verdict]
	if v.Well() {
		word = s.good(word)
	} else {
		word = s.bad(word)
	}
	fmt.Fprintf(&b, "%s  %s  %d/%d voters", s.bold(v.Cluster), word, v.VotersUp, v.Voters)
	if v.EtcdVersion != "" {
		fmt.Fprintf(&b, "   etcd %s", v.EtcdVersion)
	}
	fmt.Fprintf(&b, "   API server: %s\n", apiServer(v.APIServer))
	if v.AgentDown != "" {
		fmt.Fprintf(&b, "%s the agent on %s does not answer: %s\n  What follows was read from this node's files and asked of its peers directly.\n", s.bad("✗"), v.SeenFrom, v.AgentDown)
	}
	nodes(&b, v, verbose)
	const width = 9
	if r := v.Recovery; r != nil {
		b.WriteString(labelled("Recovery", width, recoveryLines(v, s)))
	}
	for _, c := range v.Conflicts {
		b.WriteString(labelled("Lineage", width, []string{s.bad("✗ ") + c}))
	}
	b.WriteString(labelled("Backup", width, backupLines(v, s)))
	b.WriteString(labelled("Certs", width, certLines(v, s)))
	var lines []string
	for _, d := range v.Disks {
		lines = append(lines, fmt.Sprintf("%s %s of %s free on %s (%d%%)", s.warn("⚠"), Bytes(d.Free), Bytes(d.Total), d.Node, d.Free*100/d.Total))
	}
	b.WriteString(labelled("Disk", width, lines))
	b.WriteString(labelled("Archive", width, archiveLines(v)))
	b.WriteString(labelled("Note", width, v.Notes))
	b.WriteString(labelled("Next:", width, v.Next))
	return b.String()
}

func apiServer(a APIServer) string {
	switch {
	case a.Asked == 0:
		return "unknown (no agent answered)"
	case a.Ready == a.Asked:
		return "ready (asked the agents)"
	case a.Ready == 0:
		return "down (asked the agents)"
	}
	return fmt.Sprintf("ready on %d of %d (asked the agents)", a.Ready, a.Asked)
}

// nodes writes the table, and below a node what its guard said.
func nodes(b *strings.Builder, v View, verbose bool) {
	rows := [][]string{{"NODE", "MEMBER", "ROLE", "HEALTH", "DB (IN USE)", "RAFT", "LAG"}}
	for _, n := range v.Nodes {
		id := "-"
		if n.MemberID != "" {
			id = fmt.Sprintf("%.8s", n.MemberID)
		}
		row := []string{n.Name, id, dash(n.Role), n.Health}
		switch {
		case n.Detail != "":
			row = append(row, n.Detail)
		case n.Role != "":
			row = append(row, database(n), fmt.Sprint(n.RaftIndex), lag(n))
		}
		rows = append(rows, row)
	}
	lines := table(rows)
	b.WriteString(lines[0] + "\n")
	for i, n := range v.Nodes {
		b.WriteString(lines[i+1] + "\n")
		if g := guardLine(n, verbose); g != "" {
			b.WriteString("      guard: " + g + "\n")
		}
	}
}

func guardLine(n NodeView, verbose bool) string {
	g := n.Guard
	switch {
	case g == nil || n.Unreachable:
		return ""
	case !verbose && (g.State == "running" && g.Installed || g.State == "held" && n.Held != ""):
		return "" // the row says it all
	case !g.Installed && g.Answer == "":
		return "not installed: `ceo node install` on this node"
	case g.Answer == "" && g.Error != "":
		return "does not answer: " + g.Error
	case g.Answer == "":
		return ""
	}
	state := g.State
	if state == "" {
		state = "not running; its last decision"
	}
	return fmt.Sprintf("%s: %s: %s", state, g.Answer, g.Reason)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func lag(n NodeView) string {
	if n.Lag == nil {
		return "-"
	}
	return fmt.Sprint(*n.Lag)
}

func database(n NodeView) string {
	if n.DBSize <= 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%d%%)", Bytes(positive(n.DBSize)), n.DBInUse*100/n.DBSize)
}

func certLines(v View, s Style) []string {
	var out []string
	for i, c := range v.Certs {
		if i == 3 {
			return append(out, fmt.Sprintf("  and %d more: `ceo status -o json`", len(v.Certs)-i))
		}
		if c.Expired {
			out = append(out, fmt.Sprintf("%s %s on %s expired %s ago", s.bad("✗"), c.Name, c.Node, age(v.At.Sub(c.NotAfter))))
			continue
		}
		out = append(out, fmt.Sprintf("%s %s on %s expires in %s", s.warn("⚠"), c.Name, c.Node, age(c.NotAfter.Sub(v.At))))
	}
	return out
}

func archiveLines(v View) []string {
	var parts []string
	for _, a := range v.Archive {
		parts = append(parts, fmt.Sprintf("%s %d (newest %s ago)", a.Node, a.Entries, age(v.At.Sub(a.Newest))))
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{"data set aside: " + strings.Join(parts, ", ")}
}

func recoveryLines(v View, s Style) []string {
	r := v.Recovery
	line := fmt.Sprintf("%s on %s, %s for %s", r.ID, r.Coordinator, r.State, age(v.At.Sub(r.Started)))
	if r.Step != "" && len(r.WaitingFor) == 0 {
		line += ", at step " + r.Step
	}
	if len(r.WaitingFor) > 0 {
		line += ", waits for " + strings.Join(r.WaitingFor, ", ")
	}
	out := []string{line}
	if r.Error != "" {
		out = append(out, s.bad("✗ ")+r.Error)
	}
	return out
}
