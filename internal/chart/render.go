package chart

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"text/template"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Release is what the templates know of the installation.
type Release struct {
	Name, Namespace string
	// Service is who installs: Helm, or ceo.
	Service string
	// AppVersion stands in for the chart's own where it is not empty.
	AppVersion string
}

// Object is one rendered object, as JSON would have it.
type Object map[string]any

// Kind of the object.
func (o Object) Kind() string { s, _ := o["kind"].(string); return s }

// APIVersion of the object.
func (o Object) APIVersion() string { s, _ := o["apiVersion"].(string); return s }

// Name of the object.
func (o Object) Name() string { return o.meta("name") }

// Namespace of the object, "" for one that has none.
func (o Object) Namespace() string { return o.meta("namespace") }

func (o Object) meta(key string) string {
	m, _ := o["metadata"].(map[string]any)
	s, _ := m[key].(string)
	return s
}

// String names it for messages.
func (o Object) String() string {
	if ns := o.Namespace(); ns != "" {
		return o.Kind() + " " + ns + "/" + o.Name()
	}
	return o.Kind() + " " + o.Name()
}

// files is what the templates call .Files.
type files struct{ chart fs.FS }

// Get is a file's content.
func (f files) Get(name string) (string, error) {
	b, err := fs.ReadFile(f.chart, name)
	return string(b), err
}

// functions are Helm's, by the same names. What is not here does not exist for our templates.
var functions = template.FuncMap{
	"toJson": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
	"fromYaml": func(s string) (map[string]any, error) {
		var out map[string]any
		return out, yaml.UnmarshalStrict([]byte(s), &out)
	},
	"replace": func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
	"quote":   func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
}

// Render gives the chart's objects in the order in which they can be applied: CRDs first.
func Render(chart fs.FS, values map[string]any, release Release) ([]Object, error) {
	data, err := input(chart, values, release)
	if err != nil {
		return nil, err
	}
	var out []Object
	crds, err := fs.Glob(chart, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("the chart's CRDs: %w", err)
	}
	for _, name := range crds {
		raw, err := fs.ReadFile(chart, name)
		if err != nil {
			return nil, fmt.Errorf("the chart's CRDs: %w", err)
		}
		if out, err = split(out, name, raw); err != nil {
			return nil, err
		}
	}
	names, err := fs.Glob(chart, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("the chart's templates: %w", err)
	}
	root := template.New("chart").Option("missingkey=error").Funcs(functions)
	for _, name := range names {
		raw, err := fs.ReadFile(chart, name)
		if err != nil {
			return nil, fmt.Errorf("the chart's templates: %w", err)
		}
		if _, err := root.New(name).Parse(string(raw)); err != nil {
			return nil, fmt.Errorf("the chart's template: %w", err)
		}
	}
	for _, name := range names {
		if path.Ext(name) != ".yaml" {
			continue // definitions, and what Helm alone prints
		}
		var b bytes.Buffer
		if err := root.ExecuteTemplate(&b, name, data); err != nil {
			return nil, fmt.Errorf("render the chart: %w", err)
		}
		if out, err = split(out, name, b.Bytes()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func input(chart fs.FS, values map[string]any, release Release) (map[string]any, error) {
	raw, err := fs.ReadFile(chart, "Chart.yaml")
	if err != nil {
		return nil, fmt.Errorf("the chart: %w", err)
	}
	var about struct {
		Name       string `json:"name"`
		Version    string `json:"version"`
		AppVersion string `json:"appVersion"`
	}
	if err := yaml.Unmarshal(raw, &about); err != nil {
		return nil, fmt.Errorf("Chart.yaml: %w", err)
	}
	if release.AppVersion != "" {
		about.AppVersion = release.AppVersion
	}
	return map[string]any{"Values": values, "Release": release, "Chart": about, "Files": files{chart}}, nil
}

// split reads the documents of one file; those that hold nothing are none.
func split(out []Object, name string, raw []byte) ([]Object, error) {
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var o Object
		if err := yaml.UnmarshalStrict(doc, &o); err != nil {
			return nil, fmt.Errorf("%s renders to what is no YAML: %w", name, err)
		}
		if len(o) == 0 {
			continue
		}
		if o.Kind() == "" || o.APIVersion() == "" || o.Name() == "" {
			return nil, fmt.Errorf("%s renders to an object without kind, apiVersion or name", name)
		}
		out = append(out, o)
	}
}

// YAML prints objects as one stream.
func YAML(objects []Object) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		doc, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o, err)
		}
		b.WriteString("---\n")
		b.Write(doc)
	}
	return b.Bytes(), nil
}
