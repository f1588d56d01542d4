package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

func TestDecideLineage(t *testing.T) {
	first := node.Lineage{{Epoch: 0, ClusterID: "a"}}
	second := node.Lineage{{Epoch: 0, ClusterID: "a"}, {Epoch: 1, ClusterID: "b"}}
	for name, row := range map[string]struct {
		have      node.Lineage
		peers     []node.Lineage
		installed []string
		cluster   string
		want      string
		err       string
	}{
		"first node":                               {cluster: "a", want: "a"},
		"again on the first node":                  {have: first, cluster: "a", want: "a"},
		"second node":                              {peers: []node.Lineage{first}, installed: []string{"cp-1"}, cluster: "a", want: "a"},
		"joined after a recovery":                  {peers: []node.Lineage{second}, installed: []string{"cp-1"}, cluster: "b", want: "a b"},
		"a peer knows more":                        {have: first, peers: []node.Lineage{first, second}, installed: []string{"cp-1"}, cluster: "b", want: "a b"},
		"joined after a recovery, peers silent":    {installed: []string{"cp-1"}, cluster: "b", err: "none of their agents answered"},
		"known, peers silent":                      {have: first, installed: []string{"cp-2"}, cluster: "a", want: "a"},
		"I4: data of before a recovery":            {have: first, peers: []node.Lineage{second}, installed: []string{"cp-2"}, cluster: "a", err: "before a recovery"},
		"I3: a foreign cluster":                    {have: first, cluster: "c", err: "before a recovery"},
		"I3: two recoveries apart from each other": {have: second, peers: []node.Lineage{{{Epoch: 1, ClusterID: "c"}}}, installed: []string{"cp-2"}, cluster: "b", err: "two recoveries"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decideLineage(row.have, row.peers, row.installed, row.cluster, time.Now())
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Fatalf("got %v, want %q", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, g := range got {
				ids = append(ids, g.ClusterID)
			}
			if strings.Join(ids, " ") != row.want {
				t.Errorf("got %v, want %s", ids, row.want)
			}
		})
	}
}

func TestClusterName(t *testing.T) {
	conf := "current-context: b\ncontexts:\n- {name: a, context: {cluster: one}}\n- {name: b, context: {cluster: prod, user: u}}\n"
	for name, row := range map[string]struct{ known, conf, want, err string }{
		"kubeadm's":          {conf: conf, want: "prod"},
		"known":              {known: "mine", conf: conf, want: "mine"},
		"no admin.conf":      {want: "kubernetes"},
		"no current context": {conf: "contexts: []", want: "kubernetes"},
		"damaged":            {conf: "\t:", err: "no kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			p := node.Paths{Root: t.TempDir()}
			dir := filepath.Dir(p.Manifests())
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if row.conf != "" {
				if err := os.WriteFile(filepath.Join(dir, "admin.conf"), []byte(row.conf), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := clusterName(p, row.known)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("got %v, want %q", err, row.err)
				}
				return
			}
			if err != nil || got != row.want {
				t.Errorf("got %q %v, want %q", got, err, row.want)
			}
		})
	}
}
