package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/types"
	// The ids of members and of the cluster follow from peer URLs and token by etcd's own rule: what is computed here
	// is what an etcd that bootstraps with the same flags computes.
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// Membership is the new cluster's.
type Membership struct {
	Name     string   // of the member whose data dir is made
	PeerURLs []string // its own
	Initial  string   // all members: name=url,name=url,...; empty: this one alone
	Token    string
}

// cluster gives etcd's form of it.
func (m Membership) cluster() (c *membership.RaftCluster, self *membership.Member, err error) {
	// etcd's constructors report through a logger that may panic.
	defer recovered("membership", &err)
	own, err := types.NewURLs(m.PeerURLs)
	if err != nil {
		return nil, nil, fmt.Errorf("peer URLs %s: %w", strings.Join(m.PeerURLs, ","), err)
	}
	initial := m.Initial
	if initial == "" {
		initial = (types.URLsMap{m.Name: own}).String()
	}
	urls, err := types.NewURLsMap(initial)
	if err != nil {
		return nil, nil, fmt.Errorf("initial cluster %s: %w", initial, err)
	}
	if err := checkURLs(m.Name, own, urls); err != nil {
		return nil, nil, err
	}
	if c, err = membership.NewClusterFromURLsMap(quiet(), m.Token, urls); err != nil {
		return nil, nil, fmt.Errorf("initial cluster %s: %w", initial, err)
	}
	return c, c.MemberByName(m.Name), nil
}

func checkURLs(name string, own types.URLs, all types.URLsMap) error {
	listed, ok := all[name]
	if !ok {
		return fmt.Errorf("the initial cluster %s has no member %q", all, name)
	}
	a, b := listed.StringSlice(), own.StringSlice()
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		return fmt.Errorf("the initial cluster says that %s is at %s, its own peer URLs are %s",
			name, strings.Join(a, ","), strings.Join(b, ","))
	}
	every := all.URLs()
	if len(slices.Compact(every)) != len(all.URLs()) {
		return fmt.Errorf("the initial cluster %s names a URL twice", all)
	}
	return nil
}

// memberValues is the members bucket: hexadecimal ids, and JSON.
func memberValues(c *membership.RaftCluster) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, m := range c.Members() {
		v, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		values[m.ID.String()] = v
	}
	if len(values) == 0 {
		return nil, errors.New("a cluster of no members")
	}
	return values, nil
}

// joined is how a member's peer URLs are shown and compared, in etcd's order.
func joined(urls []string) string { return strings.Join(urls, ",") }
