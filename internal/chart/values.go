// Package chart renders the Helm chart that the program carries, without Helm: the same objects from the same files. Its
// templates keep to text/template and the few functions that are here, under Helm's names.
package chart

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// Values are the chart's defaults with each file laid over them, then each assignment (path.to.value=YAML). They are
// checked against the chart's schema: a name that does not exist is an error, as with Helm.
func Values(chart fs.FS, files [][]byte, assignments []string) (map[string]any, error) {
	raw, err := fs.ReadFile(chart, "values.yaml")
	if err != nil {
		return nil, fmt.Errorf("the chart's own values: %w", err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(raw, &values); err != nil {
		return nil, fmt.Errorf("the chart's own values: %w", err)
	}
	for i, f := range files {
		over := map[string]any{}
		if err := yaml.UnmarshalStrict(f, &over); err != nil {
			return nil, fmt.Errorf("values file %d: %w", i+1, err)
		}
		lay(values, over)
	}
	for _, a := range assignments {
		over, err := assignment(a)
		if err != nil {
			return nil, err
		}
		lay(values, over)
	}
	return values, validate(chart, values)
}

// lay puts one set of values over another: maps are merged, everything else is replaced, null takes a value away.
func lay(under, over map[string]any) {
	for k, v := range over {
		if v == nil {
			delete(under, k)
			continue
		}
		below, isMap := under[k].(map[string]any)
		above, andIs := v.(map[string]any)
		if isMap && andIs {
			below = maps.Clone(below)
			lay(below, above)
			under[k] = below
			continue
		}
		under[k] = v
	}
}

// assignment reads path.to.value=YAML.
func assignment(s string) (map[string]any, error) {
	path, text, ok := strings.Cut(s, "=")
	if !ok || path == "" {
		return nil, fmt.Errorf("--set %s: write path.to.value=VALUE", s)
	}
	var value any
	if err := yaml.UnmarshalStrict([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("--set %s: the value is no YAML: %w", s, err)
	}
	if text == "" {
		value = ""
	}
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i >= 0; i-- {
		if keys[i] == "" {
			return nil, fmt.Errorf("--set %s: there is an empty name in the path", s)
		}
		value = map[string]any{keys[i]: value}
	}
	out, _ := value.(map[string]any)
	return out, nil
}

func validate(chart fs.FS, values map[string]any) error {
	raw, err := fs.ReadFile(chart, "values.schema.json")
	if err != nil {
		return fmt.Errorf("the schema of the chart's values: %w", err)
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("the schema of the chart's values: %w", err)
	}
	// Nothing is looked up outside of the document itself.
	c := jsonschema.NewCompiler()
	if err := c.AddResource("values.schema.json", schema); err != nil {
		return fmt.Errorf("the schema of the chart's values: %w", err)
	}
	s, err := c.Compile("values.schema.json")
	if err != nil {
		return fmt.Errorf("the schema of the chart's values: %w", err)
	}
	if err := s.Validate(values); err != nil {
		return fmt.Errorf("these values do not fit the chart: %w", err)
	}
	return nil
}
