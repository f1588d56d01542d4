package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/recovery"
)

func TestSizeBytes(t *testing.T) {
	for _, c := range []struct {
		size v1alpha1.Size
		want int64
	}{
		{"8Gi", 8 << 30},
		{"64Mi", 64 << 20},
		{"1Ki", 1 << 10},
		{"2Ti", 2 << 40},
		{"", -1},
		{"8GB", -1},
		{"-1Gi", -1},
		{"99999999999999999999Ti", -1},
	} {
		got, err := c.size.Bytes()
		if c.want < 0 && (err == nil || !strings.Contains(err.Error(), "write a number and its unit")) || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("%q is %d bytes (%v), and should be %d", c.size, got, err, c.want)
		}
	}
}

// A risk that `ceo recover` asks for must be one that a consent in the API can name.
func TestRisksAreThoseOfARecovery(t *testing.T) {
	consent := property(t, spec(t, "etcdrecoveries"), "rollback", "consent", "acceptRisks")
	var names []string
	for _, v := range consent["items"].(map[string]any)["enum"].([]any) {
		names = append(names, v.(string))
	}
	if want := recovery.Risks(); !slices.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the API knows the risks %v, a recovery %v", names, want)
	}
	if v1alpha1.RiskRollback != recovery.RiskRollback {
		t.Errorf("%q and %q", v1alpha1.RiskRollback, recovery.RiskRollback)
	}
}

// docs/api.md has each field of each spec, in a row that begins with its default.
func TestEveryFieldIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	sections := map[string]string{}
	for _, s := range strings.Split(doc, "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[strings.ToLower(title)] = text
	}
	rows := 0
	for plural, title := range map[string]string{
		"etcdclusters": "etcdcluster", "etcdbackups": "etcdbackup", "etcdbackupschedules": "etcdbackupschedule", "etcdrecoveries": "etcdrecovery",
	} {
		section := sections[title]
		for _, f := range fields("", spec(t, plural), false) {
			rows++
			if want := fmt.Sprintf("| `%s` | %s | ", f.path, f.byDefault); !strings.Contains(section, want) {
				t.Errorf("docs/api.md, %s: no row %q", title, want)
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d fields were found", rows)
	}
}

// `kubectl explain` has a sentence for each field.
func TestEveryFieldIsExplained(t *testing.T) {
	files, err := filepath.Glob("../../charts/ceo/crds/*.yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("%v (%v)", files, err)
	}
	for _, f := range files {
		described(t, f, "", schema(t, f))
	}
}

func described(t *testing.T, file, path string, s map[string]any) {
	t.Helper()
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		m := p.(map[string]any)
		if path+"."+name != ".metadata" && m["description"] == nil {
			t.Errorf("%s: %s.%s has no description", file, path, name)
		}
		described(t, file, path+"."+name, m)
		if items, ok := m["items"].(map[string]any); ok {
			described(t, file, path+"."+name+"[]", items)
		}
	}
}

type field struct{ path, byDefault string }

// fields are the leaves of a schema, and those above with a default that is not the sum of theirs.
func fields(path string, s map[string]any, required bool) []field {
	properties, _ := s["properties"].(map[string]any)
	if len(properties) == 0 {
		return []field{{path, written(s["default"], required)}}
	}
	var all []field
	if path == "retention" {
		all = append(all, field{path, written(s["default"], required)})
	}
	must, _ := s["required"].([]any)
	for name, p := range properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		all = append(all, fields(at, p.(map[string]any), slices.Contains(must, any(name)))...)
	}
	return all
}

func written(v any, required bool) string {
	switch x := v.(type) {
	case nil:
		if required {
			return "required"
		}
		return "–"
	case string:
		return "`" + x + "`"
	default:
		b, err := json.Marshal(x)
		if err != nil {
			return err.Error()
		}
		return "`" + string(b) + "`"
	}
}

func spec(t *testing.T, plural string) map[string]any {
	t.Helper()
	return property(t, schema(t, "../../charts/ceo/crds/clusteretcd.io_"+plural+".yaml"), "spec")
}

func schema(t *testing.T, file string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	crd := struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}{}
	if err := yaml.Unmarshal(b, &crd); err != nil || len(crd.Spec.Versions) != 1 {
		t.Fatalf("%s: %d versions (%v)", file, len(crd.Spec.Versions), err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func property(t *testing.T, s map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, name := range path {
		properties, _ := s["properties"].(map[string]any)
		next, ok := properties[name].(map[string]any)
		if !ok {
			t.Fatalf("no property %s of %v", name, path)
		}
		s = next
	}
	return s
}
