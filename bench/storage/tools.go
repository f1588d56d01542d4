package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/bench/workplace"
)

// tools are the programs that are measured.
type tools struct {
	etcd, etcdctl, etcdutl string
	ceo                    string
	self                   string // for the parts that have no program of their own
}

func findTools(ctx context.Context, o options, scratch string) (tools, error) {
	dir, err := workplace.EtcdDir(o.etcd, "etcd", "etcdctl", "etcdutl")
	if err != nil {
		return tools{}, err
	}
	t := tools{etcd: filepath.Join(dir, "etcd"), etcdctl: filepath.Join(dir, "etcdctl"), etcdutl: filepath.Join(dir, "etcdutl")}
	if t.self, err = os.Executable(); err != nil {
		return t, err
	}
	t.ceo, err = workplace.Ceo(ctx, o.ceo, scratch)
	return t, err
}

// ceoCan says whether the binary has a verb: its help names a flag of it.
func (t tools) ceoCan(ctx context.Context, flag string, verb ...string) bool {
	_, out, err := measure.Run(ctx, measure.Command{Path: t.ceo, Args: append(verb, "--help")})
	return err == nil && strings.Contains(string(out), flag)
}
