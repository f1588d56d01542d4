package deps

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/progress"
)

//go:embed pause.go.txt
var pauseSource []byte

func pauseKey() string {
	h := sha256.Sum256(pauseSource)
	return hex.EncodeToString(h[:4])
}

var kubernetesCommands = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "kubeadm"}

// goCommand is a go command that no setting of the machine's other projects reaches.
func goCommand(dir string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Dir = dir
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux")
	}
}

func goRun(ctx context.Context, r *progress.Reporter, what, dir, log string, limit time.Duration, args ...string) error {
	s := progress.Step{What: what, Limit: limit, Log: log, Note: compiled}
	return r.Run(ctx, s, append([]string{"go"}, args...), goCommand(dir))
}

// compiled counts what `go build -v` said.
func compiled(log []byte) string {
	n := 0
	for line := range bytes.Lines(log) {
		if !bytes.HasPrefix(line, []byte("go: ")) {
			n++
		}
	}
	return fmt.Sprintf("%d packages compiled, last: %s", n, progress.Tail(log, 1))
}

// buildKubernetes builds with Kubernetes' own go.mod, so that every dependency has the version that Kubernetes ships with; its staging
// modules come in at the versions they are published under.
func buildKubernetes(ctx context.Context, r *progress.Reporter, dir, log string) error {
	mod, err := downloadGoMod(ctx, dir, "k8s.io/kubernetes@v"+Kubernetes)
	if err != nil {
		return err
	}
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "go.mod"), kubernetesGoMod(mod), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "tools.go"), toolsFile("k8s.io/kubernetes/cmd/", kubernetesCommands), 0o600); err != nil {
		return err
	}
	ld := "-s -w"
	for _, p := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		v := strings.Split(Kubernetes, ".")
		ld += fmt.Sprintf(" -X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s", p, Kubernetes, p, v[0], p, v[1])
	}
	args := []string{"build", "-v", "-mod=mod", "-trimpath", "-ldflags", ld, "-o", filepath.Join(dir, "bin") + "/"}
	for _, c := range kubernetesCommands {
		args = append(args, "k8s.io/kubernetes/cmd/"+c)
	}
	if err := goRun(ctx, r, "building Kubernetes v"+Kubernetes+" (6 to 9 minutes the first time)", src, log, 45*time.Minute, args...); err != nil {
		return err
	}
	return check(dir, kubernetesCommands, "kubeadm", "version", "v"+Kubernetes)
}

var staging = regexp.MustCompile(`(?m)^\s*(k8s\.io/[a-z0-9-]+) v0\.0\.0$`)

// kubernetesGoMod turns Kubernetes' go.mod into the one of a module that depends on Kubernetes.
func kubernetesGoMod(mod []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(mod) {
		switch {
		case bytes.HasPrefix(line, []byte("module ")):
			out.WriteString("module lab/k8s\n")
		case bytes.Contains(line, []byte("=> ./staging")):
		default:
			out.Write(line)
		}
	}
	fmt.Fprintf(&out, "\nrequire k8s.io/kubernetes v%s\n\n", Kubernetes)
	seen := map[string]bool{}
	for _, m := range staging.FindAllSubmatch(mod, -1) {
		if name := string(m[1]); !seen[name] {
			seen[name] = true
			fmt.Fprintf(&out, "replace %s => %s v0.%s\n", name, name, strings.TrimPrefix(Kubernetes, "1."))
		}
	}
	return out.Bytes()
}

func toolsFile(prefix string, names []string) []byte {
	var b bytes.Buffer
	b.WriteString("//go:build tools\n\npackage tools\n\n")
	for _, n := range names {
		fmt.Fprintf(&b, "import _ %q\n", prefix+n)
	}
	return b.Bytes()
}

// buildEtcd builds the three etcd commands.
func buildEtcd(ctx context.Context, r *progress.Reporter, dir, log string) error {
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte("module lab/etcd\n\ngo 1.26\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "tools.go"), toolsFile("go.etcd.io/etcd/", []string{"server/v3", "etcdctl/v3", "etcdutl/v3"}), 0o600); err != nil {
		return err
	}
	what := "building etcd v" + Etcd
	get := []string{"get"}
	cmds := []string{"server", "etcdctl", "etcdutl"}
	for _, c := range cmds {
		get = append(get, "go.etcd.io/etcd/"+c+"/v3@v"+Etcd)
	}
	if err := goRun(ctx, r, what+" (fetching modules)", src, log, 10*time.Minute, get...); err != nil {
		return err
	}
	for _, c := range cmds {
		name := strings.Replace(c, "server", "etcd", 1)
		args := []string{"build", "-v", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "bin", name), "go.etcd.io/etcd/" + c + "/v3"}
		if err := goRun(ctx, r, what+" ("+name+")", src, log, 15*time.Minute, args...); err != nil {
			return err
		}
	}
	return check(dir, []string{"etcd", "etcdctl", "etcdutl"}, "etcd", "--version", Etcd)
}

// buildPause builds the first process of every pod from the lab's own source.
func buildPause(ctx context.Context, r *progress.Reporter, dir, log string) error {
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "main.go"), pauseSource, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte("module lab/pause\n\ngo 1.26\n"), 0o600); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X main.version=" + Pause, "-o", filepath.Join(dir, "bin", "pause"), "."}
	if err := goRun(ctx, r, "building pause", src, log, 5*time.Minute, args...); err != nil {
		return err
	}
	return check(dir, []string{"pause"}, "pause", "-v", Pause)
}

// check runs one of the new binaries and removes the sources: a build that cannot say its version is no build.
func check(dir string, binaries []string, run, arg, want string) error {
	for _, b := range binaries {
		if _, err := os.Stat(filepath.Join(dir, "bin", b)); err != nil {
			return fmt.Errorf("the build left no %s: %w", b, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "bin", run), arg).CombinedOutput() //nolint:gosec // just built
	if err != nil || !strings.Contains(string(out), want) {
		return fmt.Errorf("%s %s says %q (want %s in it): %w", run, arg, out, want, err)
	}
	return os.RemoveAll(filepath.Join(dir, "src"))
}

// downloadGoMod fetches a module and returns its go.mod.
func downloadGoMod(ctx context.Context, dir, module string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module) //nolint:gosec // fixed command
	goCommand(dir)(cmd)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var info struct{ GoMod, Error string }
	if jsonErr := json.Unmarshal(out, &info); jsonErr == nil && info.Error != "" {
		return nil, fmt.Errorf("fetch %s: %s", module, info.Error)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w: %s", module, err, strings.TrimSpace(stderr.String()))
	}
	return os.ReadFile(info.GoMod)
}
