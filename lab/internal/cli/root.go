// Package cli has the verbs of the lab command, one file a group.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/progress"
	"clusteretcd.io/ceo/lab/internal/state"
)

// exitCode is the exit code of a command that the lab ran for its user.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("the command ended with %d", int(e)) }

// app is what every verb needs.
type app struct {
	dir   state.Dir
	cache deps.Cache
	r     *progress.Reporter
}

// Main runs the command line and returns the exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cache, err := deps.DefaultCache()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	a := &app{dir: state.DefaultDir(), cache: cache, r: progress.New(os.Stderr)}
	err = a.root().ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "lab: interrupted:", err)
		return 130
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lab",
		Short: "Real multi-node Kubernetes control planes on one machine",
		Long: `lab brings up a real kubeadm control plane (kubelets, etcd and kube-apiserver as static pods) on one Linux machine, and breaks it as asked.

Nodes are called cp-1, cp-2, ...; their number alone will do. Files: $CEO_LAB_DIR (/var/lib/ceo-lab) for the running lab,
$CEO_LAB_CACHE (~/.cache/ceo-lab) for what was built.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(a.depsCmd(), a.imageCmd(), a.loadCmd())
	root.AddCommand(a.lifeCmds()...)
	root.AddCommand(a.insideCmds()...)
	root.AddCommand(a.internalCmds()...)
	return root
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: nodes are made of namespaces, mounts and cgroups")
	}
	return nil
}
