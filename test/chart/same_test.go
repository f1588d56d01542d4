//go:build integration

// Package chart_test proves the chart: that `ceo install` and Helm make the same objects of it, that a real kube-apiserver
// takes them, that the operator's rights are enough and no more, and that the alerts say what exists.
package chart_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/charts/ceo"
	"clusteretcd.io/ceo/internal/chart"
)

const chartDir = "../../charts/ceo"

// valuesFiles of the tests; the empty one is the defaults.
func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("values files: %v %v", files, err)
	}
	return append(files, "")
}

// tool is a program of the cache, which a target of the Makefile builds.
func tool(t *testing.T, name, target string) string {
	t.Helper()
	cache := os.Getenv("CEO_LAB_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		must(t, err)
		cache = filepath.Join(home, ".cache", "ceo-lab")
	}
	found, err := filepath.Glob(filepath.Join(cache, "tools", name+"-v*"))
	must(t, err)
	for _, f := range found {
		if !strings.HasSuffix(f, ".new") {
			return f
		}
	}
	t.Fatalf("no %s in %s: run `make %s`", name, filepath.Join(cache, "tools"), target)
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = bytes.NewReader(in)
	home := t.TempDir()
	c.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, errs.String(), out)
	}
	return out
}

// ours renders as `ceo install` does.
func ours(t *testing.T, file, service string, set ...string) []chart.Object {
	t.Helper()
	var files [][]byte
	if file != "" {
		raw, err := os.ReadFile(file)
		must(t, err)
		files = append(files, raw)
	}
	values, err := chart.Values(ceo.Files, files, set)
	must(t, err)
	objects, err := chart.Render(ceo.Files, values, chart.Release{Name: "ceo", Namespace: "kube-system", Service: service})
	must(t, err)
	return objects
}

func split(t *testing.T, raw []byte) map[string]chart.Object {
	t.Helper()
	out := map[string]chart.Object{}
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		var o chart.Object
		must(t, yaml.Unmarshal(doc, &o))
		if len(o) > 0 {
			out[o.APIVersion()+" "+o.String()] = o
		}
	}
}

// TestSameAsHelm: object by object, what `ceo install` prints is what the real Helm renders.
func TestSameAsHelm(t *testing.T) {
	helm := tool(t, "helm", "deps-helm")
	for _, file := range valuesFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			args := []string{"template", "ceo", chartDir, "--namespace", "kube-system", "--include-crds"}
			lint := []string{"lint", "--strict", chartDir}
			if file != "" {
				args, lint = append(args, "-f", file), append(lint, "-f", file)
			}
			theirs := split(t, run(t, nil, helm, args...))
			run(t, nil, helm, lint...)
			objects := ours(t, file, "Helm")
			printed, err := chart.YAML(objects)
			must(t, err)
			mine := split(t, printed)
			if len(mine) != len(objects) || len(mine) < 10 {
				t.Fatalf("%d objects of %d are printed", len(mine), len(objects))
			}
			for key, o := range theirs {
				if !reflect.DeepEqual(o, mine[key]) {
					a, _ := yaml.Marshal(o)
					b, _ := yaml.Marshal(mine[key])
					t.Errorf("%s\nby Helm:\n%s\nby ceo:\n%s", key, a, b)
				}
			}
			for key := range mine {
				if theirs[key] == nil {
					t.Errorf("Helm does not render %s", key)
				}
			}
		})
	}
}

// TestRefusedValues: what one refuses, both refuse.
func TestRefusedValues(t *testing.T) {
	helm := tool(t, "helm", "deps-helm")
	for name, set := range map[string]string{
		"a name that does not exist":     "operator.replica=2",
		"a port that is none":            "operator.metricsPort=70000",
		"a word where a number goes":     "operator.replicas=two",
		"a policy that does not exist":   "image.pullPolicy=Sometimes",
		"an image with a space":          "image.repository=a b",
		"a folder that is no run folder": "installer.runtimeDir=/etc",
		"every node":                     "nodeSelector=null",
		"an interval without a unit":     "installer.interval=30",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := chart.Values(ceo.Files, nil, []string{set}); err == nil {
				t.Errorf("ceo takes --set %s", set)
			}
			c := exec.Command(helm, "template", "ceo", chartDir, "--set", set)
			if out, err := c.CombinedOutput(); err == nil {
				t.Errorf("Helm takes --set %s:\n%.300s", set, out)
			}
		})
	}
}
