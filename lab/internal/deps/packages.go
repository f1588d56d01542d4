package deps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/progress"
)

// tools are the programs that the lab or its nodes use, and the Debian package that brings each.
var tools = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/bridge", "containernetworking-plugins"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"mkfs.xfs", "xfsprogs"},
	{"/lib/systemd/systemd", "systemd"},
	{"systemctl", "systemd"},
	{"mount", "mount"},
	{"nsenter", "util-linux"},
	{"/usr/bin/setpriv", "util-linux"},
	{"losetup", "mount"},
	{"ps", "procps"},
	{"sysctl", "procps"},
	{"/etc/ssl/certs/ca-certificates.crt", "ca-certificates"},
}

// missingPackages says which packages to install, and for which programs.
func missingPackages(have func(program string) bool) (pkgs, programs []string) {
	seen := map[string]bool{}
	for _, t := range tools {
		if have(t.program) {
			continue
		}
		programs = append(programs, t.program)
		if !seen[t.pkg] {
			seen[t.pkg] = true
			pkgs = append(pkgs, t.pkg)
		}
	}
	return pkgs, programs
}

func haveProgram(p string) bool {
	if filepath.IsAbs(p) {
		_, err := os.Stat(p)
		return err == nil
	}
	for _, dir := range strings.Split("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ":") {
		if st, err := os.Stat(filepath.Join(dir, p)); err == nil && st.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// installPackages brings the Debian packages that are missing, without a question and without leaving one of their services running.
func installPackages(ctx context.Context, r *progress.Reporter, log string) (err error) {
	pkgs, programs := missingPackages(haveProgram)
	if len(pkgs) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this machine: %s; and there is no apt-get to install %s with: install them by hand", strings.Join(programs, ", "), strings.Join(pkgs, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing on this machine: %s: run lab deps as root, or: apt-get install %s", strings.Join(programs, ", "), strings.Join(pkgs, " "))
	}
	allow, err := forbidServices()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, allow()) }()
	r.Say("installing Debian packages: %s", strings.Join(pkgs, " "))
	env := func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
	}
	const opt = "-oDPkg::Lock::Timeout=300" // somebody else's apt may be at work
	update := progress.Step{What: "apt-get update", Limit: 5 * time.Minute, Log: log}
	if err := r.Run(ctx, update, []string{"apt-get", opt, "-q", "update"}, env); err != nil {
		return err
	}
	install := progress.Step{What: "apt-get install", Limit: 10 * time.Minute, Log: log}
	argv := append([]string{"apt-get", opt, "-q", "-y", "--no-install-recommends", "install"}, pkgs...)
	if err := r.Run(ctx, install, argv, env); err != nil {
		return err
	}
	for _, p := range pkgs {
		if p == "containerd" {
			disable(ctx, r, "containerd.service")
		}
	}
	if _, still := missingPackages(haveProgram); len(still) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", strings.Join(still, ", "))
	}
	return nil
}

// disable keeps a service that came with a package from starting at the machine's next boot: the lab runs its own, inside of its nodes.
func disable(ctx context.Context, r *progress.Reporter, unit string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", "--no-reload", "disable", unit).CombinedOutput(); err != nil { //nolint:gosec // fixed command
		r.Say("note: could not disable %s of this machine, which the lab does not need: %s", unit, strings.TrimSpace(string(out)))
	}
}

// forbidServices makes dpkg start no service while the lab installs packages (Debian's policy-rc.d), unless the machine has a policy already.
func forbidServices() (undo func() error, err error) {
	const policy = "/usr/sbin/policy-rc.d"
	nothing := func() error { return nil }
	f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // dpkg must be able to run it
	if errors.Is(err, fs.ErrExist) {
		return nothing, nil
	}
	if err != nil {
		return nothing, fmt.Errorf("keep packages from starting services: %w", err)
	}
	_, err = f.WriteString("#!/bin/sh\n# Placed by `lab deps` while it installs packages, and removed after it.\nexit 101\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return nothing, errors.Join(fmt.Errorf("keep packages from starting services: %w", err), os.Remove(policy))
	}
	return func() error { return os.Remove(policy) }, nil
}
