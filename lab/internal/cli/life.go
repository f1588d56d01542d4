package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/lab/internal/cluster"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

// lockLimit is how long a command waits for another one. Only up, down, add and remove take long.
const lockLimit = 10 * time.Minute

// change runs f on the lab while no other command changes it.
func (a *app) change(ctx context.Context, f func(*cluster.Lab) error) error {
	if err := needRoot(); err != nil {
		return err
	}
	unlock, err := a.dir.Lock(lockLimit, a.r.Say)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := a.lab()
	if err != nil {
		return err
	}
	return errors.Join(f(l), ctx.Err())
}

// lab is the lab as it is written down.
func (a *app) lab() (*cluster.Lab, error) {
	s, err := a.dir.Read()
	if err != nil {
		return nil, err
	}
	return &cluster.Lab{Dir: a.dir, Cache: a.cache, R: a.r, S: s}, nil
}

// lifeCmds are the verbs that make, break and mend.
func (a *app) lifeCmds() []*cobra.Command {
	return []*cobra.Command{
		a.upCmd(), a.initCmd(), a.downCmd(), a.statusCmd(),
		a.onNode("join NODE", "Join a node of a bare lab to its cluster", func(ctx context.Context, l *cluster.Lab, n string) error { return l.Join(ctx, n) }),
		a.onNodes("kill NODE...", "Take the power from nodes, all at once", func(_ context.Context, l *cluster.Lab, n []string) error { return l.Kill(n) }),
		a.bootCmd(), a.wipeCmd(), a.moveCmd(),
		a.onNodes("partition NODE...", "Cut nodes off from all others; among themselves they still talk", func(ctx context.Context, l *cluster.Lab, n []string) error { return l.Partition(ctx, n) }),
		a.healCmd(),
		a.onNode("add NODE", "Make a further node and join it to the cluster", func(ctx context.Context, l *cluster.Lab, n string) error { return l.Add(ctx, n) }),
		a.onNode("remove NODE", "Take a node out of etcd and the cluster, and delete it", func(ctx context.Context, l *cluster.Lab, n string) error { return l.Remove(ctx, n) }),
	}
}

func (a *app) onNodes(use, short string, f func(context.Context, *cluster.Lab, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			return a.change(c.Context(), func(l *cluster.Lab) error { return f(c.Context(), l, args) })
		},
	}
}

func (a *app) onNode(use, short string, f func(context.Context, *cluster.Lab, string) error) *cobra.Command {
	c := a.onNodes(use, short, func(ctx context.Context, l *cluster.Lab, n []string) error { return f(ctx, l, n[0]) })
	c.Args = cobra.ExactArgs(1)
	return c
}

func (a *app) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if s, err := a.dir.Read(); err == nil && s != nil {
		for _, n := range s.Nodes {
			out = append(out, n.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) upCmd() *cobra.Command {
	var nodes int
	var bare bool
	disk := "2G"
	c := &cobra.Command{
		Use: "up", Short: "Bring a cluster up (and whatever it needs before that)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]int{1, 3, 5}, nodes) && !bare {
				return fmt.Errorf("--nodes %d: a lab has 1, 3 or 5 nodes (lab add makes more)", nodes)
			}
			if nodes < 1 || nodes > state.MaxNodes {
				return fmt.Errorf("--nodes %d: a lab has 1 to %d", nodes, state.MaxNodes)
			}
			size, err := parseSize(disk)
			if err != nil {
				return fmt.Errorf("--etcd-disk: %w", err)
			}
			return a.change(c.Context(), func(l *cluster.Lab) error {
				if err := l.Up(c.Context(), nodes, size, bare); errors.Is(err, cluster.ErrUp) {
					return err
				} else if err != nil {
					return fmt.Errorf("%w\n(what was made so far is still there: lab status, lab logs; lab down removes it)", err)
				}
				return nil
			})
		},
	}
	c.Flags().IntVar(&nodes, "nodes", 3, "how many control-plane nodes: 1, 3 or 5; bare, any number")
	c.Flags().BoolVar(&bare, "bare", false, "nodes that run, without a cluster: lab init and lab join make it")
	c.Flags().StringVar(&disk, "etcd-disk", disk, "size of each node's disk for /var/lib/etcd")
	return c
}

func (a *app) initCmd() *cobra.Command {
	var s cluster.Setup
	c := &cobra.Command{
		Use: "init", Short: "Make the cluster of a bare lab, on its first node", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.change(c.Context(), func(l *cluster.Lab) error { return l.Init(c.Context(), s) })
		},
	}
	c.Flags().StringVar(&s.EtcdConfig, "etcd-config", "", "file of this machine with kubeadm's configuration, of which the block etcd is taken")
	c.Flags().StringSliceVar(&s.Ignore, "ignore", nil, "further checks of kubeadm's to ignore")
	return c
}

// parseSize reads "512M" or "2G".
func parseSize(s string) (int64, error) {
	unit := map[string]int64{"M": 1 << 20, "G": 1 << 30}
	if len(s) < 2 || unit[s[len(s)-1:]] == 0 {
		return 0, fmt.Errorf("%q is no size: write 512M or 2G", s)
	}
	n, err := strconv.ParseInt(s[:len(s)-1], 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is no size: write 512M or 2G", s)
	}
	if size := n * unit[s[len(s)-1:]]; size >= node.MinDisk {
		return size, nil
	}
	return 0, fmt.Errorf("%s is too small: XFS needs %dM", s, node.MinDisk>>20)
}

func (a *app) downCmd() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Remove everything that up made", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			if _, err := os.Stat(string(a.dir)); errors.Is(err, os.ErrNotExist) {
				a.r.Say("nothing to remove: there is no %s", a.dir)
				return nil
			}
			unlock, err := a.dir.Lock(lockLimit, a.r.Say)
			if err != nil {
				return err
			}
			defer unlock()
			s, err := a.dir.Read()
			if err != nil {
				a.r.Say("going on without it: %v", err)
			}
			l := &cluster.Lab{Dir: a.dir, Cache: a.cache, R: a.r, S: s}
			if err := l.Down(c.Context()); err != nil {
				return err
			}
			// The lock is held until the folder is gone; whoever waits for it gets a new one.
			_ = os.Remove(a.dir.Path("lock"))
			if err := os.Remove(string(a.dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
				a.r.Say("note: %s holds files that are not the lab's, so it stays", a.dir)
			}
			a.r.Say("down: nothing is left")
			return nil
		},
	}
}

func (a *app) bootCmd() *cobra.Command {
	var ready bool
	c := a.onNodes("boot NODE...", "Give nodes power again; returns when containerd serves", func(ctx context.Context, l *cluster.Lab, n []string) error {
		began := time.Now()
		if err := l.Boot(ctx, n); err != nil || !ready {
			return err
		}
		return l.AwaitReady(ctx, n, began)
	})
	c.Flags().BoolVar(&ready, "ready", false, "wait until the API says that they are Ready")
	return c
}

func (a *app) moveCmd() *cobra.Command {
	c := a.onNodes("move NODE ADDRESS", "Give a node without power another address, from its next boot on", func(ctx context.Context, l *cluster.Lab, n []string) error {
		return l.Move(ctx, n[0], n[1])
	})
	c.Args = cobra.ExactArgs(2)
	return c
}

func (a *app) wipeCmd() *cobra.Command {
	var disk bool
	c := a.onNode("wipe NODE", "Destroy the contents of /var/lib/etcd, also while the node runs", func(ctx context.Context, l *cluster.Lab, n string) error {
		return l.Wipe(ctx, n, disk)
	})
	c.Flags().BoolVar(&disk, "disk", false, "replace the whole disk by an empty one (the node must have no power)")
	return c
}

func (a *app) healCmd() *cobra.Command {
	return &cobra.Command{
		Use: "heal", Short: "End the partition", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.change(c.Context(), func(l *cluster.Lab) error { return l.Heal(c.Context()) })
		},
	}
}

func (a *app) statusCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "status", Short: "Show the nodes and what runs on them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("-o %s: text or json", output)
			}
			if err := needRoot(); err != nil {
				return err
			}
			l, err := a.lab()
			if err != nil {
				return err
			}
			st := l.Status(c.Context())
			if output == "json" {
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(st)
			}
			return printStatus(st, a.dir)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func printStatus(st cluster.Status, dir state.Dir) error {
	if st.Phase == "none" {
		fmt.Println("no lab in", dir)
		for _, f := range st.Found {
			fmt.Println("left behind:", f, "(lab down removes it)")
		}
		return nil
	}
	fmt.Printf("lab %s  API %s  %s\n", st.Phase, st.Endpoint, st.API)
	if len(st.Found) > 0 {
		fmt.Println("not complete:", strings.Join(st.Found, "; "))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NODE\tADDRESS\tPOWER\tNETWORK\tREADY\tKUBELET\tETCD\tAPISERVER\tRUNS")
	word := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	for _, n := range st.Nodes {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.IP, word(n.Power, "on", "off"), word(n.CutOff, "cut off", "whole"), n.Ready,
			n.Kubelet, word(n.Etcd, "answers", "-"), word(n.APIServer, "answers", "-"), strings.Join(n.Processes, " "))
	}
	return w.Flush()
}
