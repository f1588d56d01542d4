package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEtcdBlock(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"last", "kind: ClusterConfiguration\netcd:\n  external:\n    endpoints:\n    - https://a\n", "etcd:\n  external:\n    endpoints:\n    - https://a\n"},
		{"between", "a: b\netcd:\n  external: {}\n\nclusterName: x\n", "etcd:\n  external: {}\n"},
		{"none", "a: b\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kubeadm.yaml")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Setup{EtcdConfig: path}.etcd()
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	if got, err := (Setup{}).etcd(); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
