package chart_test

import (
	"reflect"
	"strings"
	"testing"

	"clusteretcd.io/ceo/charts/ceo"
	"clusteretcd.io/ceo/internal/chart"
)

func TestValues(t *testing.T) {
	at := func(v map[string]any, path string) any {
		var x any = v
		for _, k := range strings.Split(path, ".") {
			m, _ := x.(map[string]any)
			x = m[k]
		}
		return x
	}
	for name, row := range map[string]struct {
		file string
		set  []string
		path string
		want any
	}{
		"the default":             {"", nil, "operator.replicas", float64(2)},
		"a file over it":          {"operator: {replicas: 3}", nil, "operator.replicas", float64(3)},
		"beside it all stays":     {"operator: {replicas: 3}", nil, "operator.metricsPort", float64(2384)},
		"an assignment over both": {"operator: {replicas: 3}", []string{"operator.replicas=1"}, "operator.replicas", float64(1)},
		"the last one wins":       {"", []string{"operator.replicas=1", "operator.replicas=0"}, "operator.replicas", float64(0)},
		"a list":                  {"", []string{"imagePullSecrets=[{name: x}]"}, "imagePullSecrets", []any{map[string]any{"name": "x"}}},
		"an empty text":           {"image: {tag: v1}", []string{"image.tag="}, "image.tag", ""},
		"null takes away":         {"operator: {resources: {limits: null}}", nil, "operator.resources.limits", nil},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := chart.Values(ceo.Files, [][]byte{[]byte(row.file)}, row.set)
			if err != nil {
				t.Fatal(err)
			}
			if got := at(v, row.path); !reflect.DeepEqual(got, row.want) {
				t.Errorf("%s is %v (%T), want %v", row.path, got, got, row.want)
			}
		})
	}
	for name, set := range map[string]string{
		"no value": "image.tag", "no path": "=x", "an empty name": "image..tag=x", "no YAML": "image.tag={", "an unknown name": "imagee.tag=x",
		"one twice": "operator={replicas: 1, replicas: 2}",
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := chart.Values(ceo.Files, nil, []string{set}); err == nil {
				t.Errorf("--set %s gives %v", set, v)
			}
		})
	}
}
