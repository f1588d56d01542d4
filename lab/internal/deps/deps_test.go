package deps

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"clusteretcd.io/ceo/lab/internal/progress"
)

func TestMissingPackages(t *testing.T) {
	for _, row := range []struct {
		name string
		lack []string
		want []string
	}{
		{"nothing", nil, nil},
		{"one program", []string{"ip"}, []string{"iproute2"}},
		{"two programs of one package", []string{"containerd", "ctr", "runc"}, []string{"containerd", "runc"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, programs := missingPackages(func(p string) bool {
				for _, l := range row.lack {
					if l == p {
						return false
					}
				}
				return true
			})
			if !reflect.DeepEqual(got, row.want) || len(programs) != len(row.lack) {
				t.Errorf("packages %v for %v; want %v for %v", got, programs, row.want, row.lack)
			}
		})
	}
}

func TestKubernetesGoMod(t *testing.T) {
	const upstream = `module k8s.io/kubernetes

go 1.26.0

require (
	github.com/x/y v1.2.3
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
)
`
	got := string(kubernetesGoMod([]byte(upstream)))
	for _, want := range []string{"module lab/k8s\n", "github.com/x/y v1.2.3", "require k8s.io/kubernetes v" + Kubernetes, "replace k8s.io/api => k8s.io/api v0.37.2"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "./staging") || strings.Contains(got, "replace k8s.io/klog") {
		t.Errorf("too much in:\n%s", got)
	}
}

func TestCompiledCountsPackagesOnly(t *testing.T) {
	got := compiled([]byte("go: downloading x v1\nk8s.io/a\nk8s.io/b\n"))
	if !strings.HasPrefix(got, "2 packages") || !strings.Contains(got, "k8s.io/b") {
		t.Error(got)
	}
}

func TestABuildIsThereWholeOrNotAtAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "k8s-v1")
	r := progress.New(io.Discard)
	ctx := context.Background()
	if err := os.MkdirAll(filepath.Join(dir+".partial", "old"), 0o700); err != nil { // of a build that was killed
		t.Fatal(err)
	}
	err := once(ctx, r, "it", dir, func(_ context.Context, d string) error {
		return errors.Join(os.WriteFile(filepath.Join(d, "half"), nil, 0o600), errors.New("broken"))
	})
	if err == nil {
		t.Fatal("no error from a build that failed")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("half a build has the name of a whole one")
	}
	build := func(_ context.Context, d string) error { return os.WriteFile(filepath.Join(d, "all"), nil, 0o600) }
	if err := once(ctx, r, "it", dir, build); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"old", "half"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); err == nil {
			t.Errorf("%s of an earlier build is in the new one", gone)
		}
	}
	if err := once(ctx, r, "it", dir, func(context.Context, string) error { return errors.New("built again") }); err != nil {
		t.Error(err)
	}
}

func TestImagesHaveTheNamesThatKubeadmWants(t *testing.T) {
	var refs []string
	for _, s := range Cache("/c").images() {
		refs = append(refs, s.ref)
	}
	want := []string{
		"registry.k8s.io/pause:3.10.2", "registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/kube-apiserver:v1.37.2",
		"registry.k8s.io/kube-controller-manager:v1.37.2", "registry.k8s.io/kube-scheduler:v1.37.2",
	}
	if !reflect.DeepEqual(refs, want) {
		t.Errorf("images %v; want %v", refs, want)
	}
}
