package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/install"
	"clusteretcd.io/ceo/internal/node"
)

// imageName is ceo's image without its tag, which is the version.
const imageName = "clusteretcd.io/ceo"

// newNodeCommand puts ceo on a control-plane node and takes it away.
func newNodeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "node",
		Short: "Put ceo on this control-plane node, or take it away",
	}
	c.AddCommand(newNodeInstallCommand(), newNodeUninstallCommand(), newNodeKeepCommand())
	return c
}

type nodeFlags struct {
	image, runtimeSocket string
	lockWait             time.Duration
	risks                []string
	plan                 bool
}

func (f *nodeFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.plan, "plan", false, "show what would be done and change nothing")
	c.Flags().StringVar(&f.runtimeSocket, "runtime-socket", "", "the container runtime's socket (default: looked for in the usual places)")
	c.Flags().DurationVar(&f.lockWait, "lock-wait", time.Minute, "how long to wait for another run; one node at a time")
	c.Flags().StringSliceVar(&f.risks, "accept-risk", nil, "consent to a named risk: "+install.RiskDowntime+" (with one or two members the API stops for some seconds)")
}

func (f *nodeFlags) options(c *cobra.Command) (install.Options, error) {
	o := install.Options{
		Paths: node.Paths{}, Image: f.image, RuntimeSocket: f.runtimeSocket, LockWait: f.lockWait, DryRun: f.plan,
		Progress: func(format string, args ...any) {
			_, _ = fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
		},
	}
	for _, risk := range f.risks {
		if risk != install.RiskDowntime {
			return o, fmt.Errorf("--accept-risk=%s: the only risk here is %s", risk, install.RiskDowntime)
		}
		o.AcceptDowntime = true
	}
	if os.Geteuid() != 0 {
		return o, fmt.Errorf("run this as root on the control-plane node: it reads etcd's CA key and writes static pods")
	}
	return o, nil
}

func newNodeInstallCommand() *cobra.Command {
	var f nodeFlags
	c := &cobra.Command{
		Use:   "install",
		Short: "Put ceo on this control-plane node of a running kubeadm cluster; again to repair or update it",
		Long: `Put ceo on this control-plane node of a running kubeadm cluster: certificates for the agent, the agent as a static
pod, and the guard as the parent of etcd. Etcd restarts once, under a lock: one node at a time, and not where the
others would not be a quorum without it. If it does not come back, kubeadm's own manifest does.

Run again it checks and repairs, or updates to another --image, and changes nothing where all is well. Run it on
every control-plane node, also on those that join later, after kubeadm join.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.options(c)
			if err != nil {
				return err
			}
			plan, err := install.Install(c.Context(), o)
			return reportNode(c, f.plan, plan, err, "ceo is installed on this node")
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.image, "image", imageName+":"+version, "image of ceo; it must be on the node")
	return c
}

func newNodeUninstallCommand() *cobra.Command {
	var f nodeFlags
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Give this node's etcd back to kubeadm's own manifest and remove the agent",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.options(c)
			if err != nil {
				return err
			}
			plan, err := install.Uninstall(c.Context(), o)
			return reportNode(c, f.plan, plan, err, fmt.Sprintf("ceo is gone from this node; %s is kept: archives are data", o.Paths.State()))
		},
	}
	f.register(c)
	return c
}

func reportNode(c *cobra.Command, dryRun bool, plan install.Plan, err error, done string) error {
	if err != nil {
		return err
	}
	if dryRun {
		_, err := fmt.Fprint(c.OutOrStdout(), plan)
		return err
	}
	if len(plan.Steps) == 0 {
		done = "nothing to do: " + done
	}
	_, err = fmt.Fprintln(c.ErrOrStderr(), done)
	return err
}

// newInstallBinaryCommand is the init container of a guarded etcd: upstream's image has no shell and no copy tool, so the
// binary brings itself.
func newInstallBinaryCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "install-binary PATH",
		Short:  "Copy this program to PATH",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return installBinary(args[0])
		},
	}
}

func installBinary(dst string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	in, err := os.Open(self) //nolint:gosec // this program itself
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer func() { _ = in.Close() }()
	// Beside the destination and renamed: a program that is being run cannot be written to, but it can be replaced.
	out, err := os.CreateTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".tmp-*")
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer func() {
		if err != nil {
			_ = out.Close()
			_ = os.Remove(out.Name())
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy this program to %s: %w", dst, err)
	}
	if err := out.Chmod(0o755); err != nil { //nolint:gosec // a program must be executable, and etcd may run as another user
		return fmt.Errorf("copy this program to %s: %w", dst, err)
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("copy this program to %s: %w", dst, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("copy this program to %s: %w", dst, err)
	}
	if err := os.Rename(out.Name(), dst); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return nil
}
