package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/lab/internal/cluster"
	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/image"
)

func (a *app) depsCmd() *cobra.Command {
	var o deps.Options
	c := &cobra.Command{
		Use:   "deps",
		Short: "Install packages and build Kubernetes, etcd and images into the cache, where missing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := deps.Ensure(c.Context(), a.r, a.cache, o); err != nil {
				return err
			}
			a.r.Say("everything is there: %s", a.cache)
			return nil
		},
	}
	c.Flags().BoolVar(&o.EtcdOnly, "etcd-only", false, "the etcd binaries alone (needs no root)")
	return c
}

func (a *app) imageCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "image OUT.tar REF BINARY...",
		Short: "Pack static binaries into a container image (docker-archive); the first is its entry point",
		Args:  cobra.MinimumNArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return image.Pack(out, args[1], args[2:]...)
		},
	}
}

func (a *app) loadCmd() *cobra.Command {
	var only []string
	c := &cobra.Command{
		Use:   "load TAR...",
		Short: "Import images into the nodes, and into those that boot or are added later",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			for _, t := range args {
				if st, err := os.Stat(t); err != nil || !st.Mode().IsRegular() {
					return errors.Join(fmt.Errorf("image %s is no file", t), err)
				}
			}
			return a.change(c.Context(), func(l *cluster.Lab) error { return l.Load(c.Context(), args, only) })
		},
	}
	c.Flags().StringSliceVar(&only, "node", nil, "into this node alone (once, not kept for others)")
	return c
}
