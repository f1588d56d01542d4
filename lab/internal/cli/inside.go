package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/lab/internal/enter"
	"clusteretcd.io/ceo/lab/internal/state"
)

// insideCmds are the verbs that run something in a node or beside the nodes, or read a node's files.
func (a *app) insideCmds() []*cobra.Command {
	execCmd := &cobra.Command{
		Use: "exec NODE -- CMD...", Short: "Run a command in a node; its exit code is the lab's", Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeNodes,
		RunE: func(_ *cobra.Command, args []string) error {
			argv := args[1:]
			if argv[0] == "--" { // cobra leaves it there behind the first argument
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return errors.New("exec: no command given")
			}
			return a.exec(args[0], argv)
		},
	}
	execCmd.Flags().SetInterspersed(false)
	shell := &cobra.Command{
		Use: "shell NODE", Short: "A shell in a node", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(_ *cobra.Command, args []string) error { return a.exec(args[0], []string{"bash", "-l"}) },
	}
	kubelet := &cobra.Command{
		Use: "kubelet NODE start|stop|restart", Short: "Drive a node's kubelet through its systemd", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeNodes,
		RunE: func(_ *cobra.Command, args []string) error {
			if !slices.Contains([]string{"start", "stop", "restart"}, args[1]) {
				return fmt.Errorf("kubelet %s: start, stop or restart", args[1])
			}
			return a.exec(args[0], []string{"systemctl", args[1], "kubelet.service"})
		},
	}
	kubectl := &cobra.Command{
		Use: "kubectl ARGS...", Short: "kubectl against any API server that is ready", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Stat(a.dir.Kubeconfig()); err != nil {
				return errors.New("no cluster is up: run lab up")
			}
			env := append(os.Environ(), "KUBECONFIG="+a.dir.Kubeconfig())
			return a.beside(append([]string{a.cache.Kubectl()}, args...), env)
		},
	}
	beside := &cobra.Command{
		Use: "netns-exec -- CMD...", Short: "Run a command of this machine in the lab's network, where every node can be reached", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.beside(args, os.Environ()) },
	}
	beside.Flags().SetInterspersed(false)
	kubeconfig := &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the admin's kubeconfig, for use with netns-exec", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := os.Stat(a.dir.Kubeconfig()); err != nil {
				return errors.New("no cluster is up: run lab up")
			}
			fmt.Println(a.dir.Kubeconfig())
			return nil
		},
	}
	copyCmd := &cobra.Command{
		Use: "cp FROM TO", Short: "Copy a file into a node or out of one; NODE:PATH is a path in a node", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return a.copy(args[0], args[1]) },
	}
	return []*cobra.Command{execCmd, shell, kubelet, kubectl, beside, kubeconfig, copyCmd, a.logsCmd()}
}

// read returns the state of a lab that must be there.
func (a *app) read() (*state.State, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	s, err := a.dir.Read()
	if err == nil && s == nil {
		err = errors.New("no lab is up: run lab up")
	}
	return s, err
}

func (a *app) exec(name string, argv []string) error {
	s, err := a.read()
	if err != nil {
		return err
	}
	n, err := s.Node(name)
	if err != nil {
		return err
	}
	if !n.Init.Alive() {
		return fmt.Errorf("%s has no power: lab boot %s", n.Name, n.Name)
	}
	code, err := enter.Node(n.Init, a.dir.Cgroup(n.Name), argv)
	if err == nil && code != 0 {
		return exitCode(code)
	}
	return err
}

func (a *app) beside(argv, env []string) error {
	s, err := a.read()
	if err != nil {
		return err
	}
	if !s.Switch.Alive() {
		return errors.New("the lab's network is down: run lab down, then lab up")
	}
	return enter.Network(s.Switch, argv, env)
}

// copy streams a file through cat, so that links inside of the node are followed there and not on this machine.
func (a *app) copy(from, to string) (err error) {
	fromNode, fromPath, out := strings.Cut(from, ":")
	toNode, toPath, in := strings.Cut(to, ":")
	if in == out {
		return errors.New("exactly one of FROM and TO must be NODE:PATH")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out {
		if st, err := os.Stat(to); err == nil && st.IsDir() {
			to = filepath.Join(to, filepath.Base(fromPath))
		}
		f, err := os.Create(to) //nolint:gosec // named by the user
		if err != nil {
			return err
		}
		cmd := exec.Command(self, "exec", fromNode, "--", "cat", "--", fromPath) //nolint:gosec // itself
		cmd.Stdout, cmd.Stderr = f, os.Stderr
		return errors.Join(cmd.Run(), f.Close())
	}
	f, err := os.Open(from) //nolint:gosec // named by the user
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	const script = `set -e; d=$1; [ ! -d "$d" ] || d=$d/$2; t=$d.lab-cp.$$; trap 'rm -f "$t"' EXIT; cat > "$t"; chmod "$3" "$t"; mv -f "$t" "$d"`
	cmd := exec.Command(self, "exec", toNode, "--", "sh", "-c", script, "cp", toPath, filepath.Base(from), fmt.Sprintf("%o", st.Mode().Perm())) //nolint:gosec // itself
	cmd.Stdin, cmd.Stderr = f, os.Stderr
	return cmd.Run()
}

func (a *app) logsCmd() *cobra.Command {
	lines, follow := 0, false
	c := &cobra.Command{
		Use: "logs NODE COMPONENT", Short: "The log of kubelet, containerd, init, kubeadm or a container (etcd, kube-apiserver, ...), also of a node without power",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.read()
			if err != nil {
				return err
			}
			n, err := s.Node(args[0])
			if err != nil {
				return err
			}
			path, err := a.logFile(n, args[1])
			if err != nil {
				return err
			}
			f, err := os.Open(path) //nolint:gosec // the lab's own log
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			if err := seekLines(f, lines); err != nil {
				return err
			}
			for {
				if _, err := io.Copy(os.Stdout, f); err != nil || !follow {
					return err
				}
				select {
				case <-c.Context().Done():
					return nil
				case <-time.After(300 * time.Millisecond):
				}
			}
		},
	}
	c.Flags().IntVar(&lines, "tail", 0, "only the last lines, this many")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until interrupted")
	return c
}

// logFile finds the newest log of a component.
func (a *app) logFile(n *state.Node, component string) (string, error) {
	switch component {
	case "kubelet", "containerd":
		return a.dir.NodePath(n, "var/log", component+".log"), nil
	case "init":
		return a.dir.NodePath(n, "init.log"), nil
	case "kubeadm":
		return a.dir.Path("logs", "kubeadm-"+n.Name+".log"), nil
	}
	all, err := filepath.Glob(a.dir.NodePath(n, "var/log/pods", "*", "*", "*.log"))
	if err != nil {
		return "", err
	}
	newest, known := "", []string{"kubelet", "containerd", "init", "kubeadm"}
	var at time.Time
	for _, p := range all {
		name := filepath.Base(filepath.Dir(p))
		if !slices.Contains(known, name) {
			known = append(known, name)
		}
		if st, err := os.Stat(p); err == nil && name == component && st.ModTime().After(at) {
			newest, at = p, st.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("%s has no log of %q: it has %s", n.Name, component, strings.Join(known, ", "))
	}
	return newest, nil
}

// seekLines goes to where the last n lines begin, or stays at the beginning.
func seekLines(f *os.File, n int) error {
	if n <= 0 {
		return nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf, pos, seen := make([]byte, 32<<10), size, 0
	for pos > 0 {
		step := min(int64(len(buf)), pos)
		pos -= step
		if _, err := f.ReadAt(buf[:step], pos); err != nil {
			return err
		}
		for i := step - 1; i >= 0; i-- {
			if buf[i] != '\n' || pos+i == size-1 {
				continue
			}
			if seen++; seen == n {
				_, err := f.Seek(pos+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
