package guard

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Flags is etcd's command line as the manifest has it, with what the guard
// needs to read from it.
type Flags struct {
	Command []string // the program, then its arguments, as in the manifest
	Name    string
	DataDir string
	PeerURL string
	// ClientURLs are the advertised ones.
	ClientURLs []string
	// InitialPeers are the peer URLs of the manifest's --initial-cluster.
	InitialPeers []string
	// ProbeURL is where etcd serves /livez and /readyz.
	ProbeURL string
	// Problem says what makes a safe start with these flags impossible.
	Problem string
}

const (
	initialClusterFlag = "initial-cluster"
	initialStateFlag   = "initial-cluster-state"
	initialTokenFlag   = "initial-cluster-token"
)

// ParseFlags reads etcd's command line. Flags that are wrong are a Problem, not
// an error: the guard then stays, says so, and starts nothing.
func ParseFlags(command []string) Flags {
	f := Flags{Command: command}
	if len(command) == 0 {
		f.Problem = "no etcd command: the manifest must say `ceo guard -- etcd …`"
		return f
	}
	v := map[string]string{}
	for _, a := range arguments(command[1:]) {
		v[a.name] = a.value
	}
	f.Name, f.DataDir = v["name"], v["data-dir"]
	f.ClientURLs = list(v["advertise-client-urls"])
	for _, p := range list(v[initialClusterFlag]) {
		if _, u, ok := strings.Cut(p, "="); ok {
			f.InitialPeers = append(f.InitialPeers, u)
		}
	}
	peers := list(v["initial-advertise-peer-urls"])
	if len(peers) > 0 {
		f.PeerURL = peers[0]
	}
	for _, u := range append(list(v["listen-metrics-urls"]), list(v["listen-client-urls"])...) {
		if f.ProbeURL == "" {
			f.ProbeURL = u
		}
	}
	f.Problem = problem(f, v, len(peers))
	return f
}

// problem refuses flags that would make etcd ignore the decision.
func problem(f Flags, v map[string]string, peers int) string {
	for _, name := range []string{"config-file", "discovery", "discovery-endpoints", "discovery-srv"} {
		if v[name] != "" {
			return fmt.Sprintf("etcd's --%s would override the membership that is decided here", name)
		}
	}
	switch {
	case v["force-new-cluster"] != "" && v["force-new-cluster"] != "false":
		return "etcd's --force-new-cluster would cut the cluster down to this member at every start (I3)"
	case f.Name == "":
		return "etcd has no --name: it must be the node's name"
	case !filepath.IsAbs(f.DataDir):
		return fmt.Sprintf("etcd's --data-dir %q is not an absolute path", f.DataDir)
	case v["wal-dir"] != "" && filepath.Clean(v["wal-dir"]) != filepath.Join(f.DataDir, "member", "wal"):
		return "etcd's --wal-dir is outside the data dir, where its data could not be set aside as a whole"
	case peers != 1:
		return fmt.Sprintf("etcd has %d --initial-advertise-peer-urls: one is needed", peers)
	}
	return ""
}

// With is the command line with the decision's initial cluster in place of the
// manifest's. All other flags stay as they are, in their order.
func (f Flags) With(d Decision) []string {
	set := map[string]string{}
	for name, value := range map[string]string{initialClusterFlag: d.InitialCluster, initialStateFlag: d.InitialClusterState, initialTokenFlag: d.InitialClusterToken} {
		if value != "" {
			set[name] = value
		}
	}
	out := []string{f.Command[0]}
	for _, a := range arguments(f.Command[1:]) {
		if _, ok := set[a.name]; !ok {
			out = append(out, a.tokens...)
		}
	}
	for _, name := range []string{initialClusterFlag, initialStateFlag, initialTokenFlag} {
		if value, ok := set[name]; ok {
			out = append(out, "--"+name+"="+value)
		}
	}
	return out
}

// Environ is the environment without what would set by etcd's variables what
// the flags decide; a flag beats its variable, but these have no flag then.
func Environ(env []string) []string {
	drop := []string{"ETCD_INITIAL_CLUSTER", "ETCD_INITIAL_CLUSTER_STATE", "ETCD_INITIAL_CLUSTER_TOKEN", "ETCD_FORCE_NEW_CLUSTER", "ETCD_CONFIG_FILE", "ETCD_DISCOVERY", "ETCD_DISCOVERY_SRV", "ETCD_DISCOVERY_ENDPOINTS", "ETCD_WAL_DIR", "ETCD_DATA_DIR", "ETCD_NAME"}
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(drop, name)
	})
}

type argument struct {
	name, value string
	tokens      []string
}

// arguments splits a command line as Go's flag package does: one dash or two,
// the value after "=" or in the next word. A word that starts with a dash is
// never taken for a value: which flags are boolean is not known here, and no
// value that matters to the guard starts with one.
func arguments(words []string) []argument {
	var all []argument
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !strings.HasPrefix(w, "-") || w == "-" || w == "--" {
			all = append(all, argument{tokens: []string{w}})
			continue
		}
		a := argument{tokens: []string{w}}
		var inline bool
		a.name, a.value, inline = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(w, "-"), "-"), "=")
		switch {
		case inline:
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "-"):
			i++
			a.value, a.tokens = words[i], append(a.tokens, words[i])
		default:
			a.value = "true"
		}
		all = append(all, a)
	}
	return all
}

func list(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// clientURL guesses a member's client URL from its peer URL: the same host and
// scheme, and the port that this node's own client URL has.
func (f Flags) clientURL(peerURL string) string {
	u, err := url.Parse(peerURL)
	if err != nil || u.Host == "" {
		return ""
	}
	port := "2379"
	for _, c := range f.ClientURLs {
		if own, err := url.Parse(c); err == nil && own.Port() != "" {
			port = own.Port()
		}
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port)
}
