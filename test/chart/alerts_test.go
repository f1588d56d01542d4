//go:build integration

package chart_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/etcdtest"
)

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(chartDir, "files/alerts.yaml"))
	must(t, err)
	var f struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	must(t, yaml.UnmarshalStrict(raw, &f))
	var out []rule
	for _, g := range f.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// othersRunbooks are written beside the code that they are about, each in its own form.
var othersRunbooks = []string{"quota", "nospace", "corrupt", "fragmentation", "backup-failed", "backup-not-proven", "certificate-expiring"}

// TestAlerts: each says how bad it is, what it means and what to type.
func TestAlerts(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
		}
		page, ok := strings.CutPrefix(r.Annotations["runbook_url"], "RUNBOOKS/")
		if !ok {
			t.Errorf("%s has no runbook", r.Alert)
			continue
		}
		raw, err := os.ReadFile(filepath.Join("../../docs/runbooks", page))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		if !slices.Contains(othersRunbooks, strings.TrimSuffix(page, ".md")) && page != "quorum-lost.md" {
			for _, part := range []string{"## What it means", "## What ceo does by itself", "## What to do"} {
				if !bytes.Contains(raw, []byte(part)) {
					t.Errorf("%s does not say %q", page, part)
				}
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d alerts", len(seen))
	}
}

// panels' expressions of the dashboard.
func panels(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(chartDir, "files/dashboard.json"))
	must(t, err)
	var d struct {
		Title  string `json:"title"`
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	must(t, json.Unmarshal(raw, &d))
	ids := map[int]bool{}
	var out []string
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, x := range p.Targets {
			out = append(out, x.Expr)
		}
	}
	if d.UID == "" || len(out) < 10 {
		t.Errorf("the dashboard %q has %d expressions", d.Title, len(out))
	}
	return out
}

var (
	declared = regexp.MustCompile(`Name:\s+"(ceo_[a-z_]+)"`)
	served   = regexp.MustCompile(`(?m)^([a-z_:]+)(\{| )`)
)

// metrics that exist: those that the operator's code declares, and those that a real etcd serves.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	// Of client-go, in every program of controller-runtime.
	out := map[string]bool{"leader_election_master_status": true}
	must(t, filepath.Walk("../../internal/operator", func(path string, _ os.FileInfo, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // the project's own files
		for _, m := range declared.FindAllSubmatch(raw, -1) {
			out[string(m[1])], out[string(m[1])+"_bucket"] = true, true
		}
		return err
	}))
	res, err := http.Get(etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0] + "/metrics")
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	must(t, err)
	for _, m := range served.FindAllSubmatch(raw, -1) {
		out[string(m[1])] = true
	}
	return out
}

// TestExpressions: Prometheus takes each expression of the alerts and the dashboard, and each metric in them exists.
func TestExpressions(t *testing.T) {
	var in bytes.Buffer
	e := json.NewEncoder(&in)
	for _, r := range rules(t) {
		must(t, e.Encode(r.Expr))
	}
	for _, x := range panels(t) {
		must(t, e.Encode(x))
	}
	used := strings.Fields(string(run(t, in.Bytes(), tool(t, "promql", "deps-helm"))))
	exist := metrics(t)
	if !exist["etcd_disk_wal_fsync_duration_seconds_bucket"] || !exist["ceo_member_healthy"] {
		t.Fatal("the metrics that exist were not found")
	}
	slices.Sort(used)
	for _, m := range slices.Compact(used) {
		if !exist[m] {
			t.Errorf("%s does not exist", m)
		}
	}
	if len(used) < 30 {
		t.Errorf("only %d metrics are used", len(used))
	}
}
