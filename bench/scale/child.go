package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/node"
)

// What this program does when it runs itself: none of it is to be in the process of the clients that are measured.
const (
	childArg      = "part"
	childAgent    = "agent"    // ROOT ADDRESS
	childGenerate = "generate" // BYTES SEED FILE
)

// freePages is what a cluster has between two defragmentations.
const freePages = 0.1

func child(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 3 && args[0] == childAgent:
		return runAgent(ctx, node.Paths{Root: args[1]}, args[2])
	case len(args) == 4 && args[0] == childGenerate:
		return generate(ctx, args[1], args[2], args[3])
	}
	return fmt.Errorf("no part %q", args)
}

// runAgent is `ceo agent` on a node that shares its machine with others: on an address of its own.
func runAgent(ctx context.Context, p node.Paths, address string) error {
	debug.SetMemoryLimit(40 << 20) // as cmd/ceo does
	debug.SetGCPercent(50)
	a, err := agent.New(agent.Options{
		Paths: p, Version: "bench", CRISocket: filepath.Join(p.Run(), "none.sock"), Own: address,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func generate(ctx context.Context, size, seed, path string) error {
	s := dataset.Spec{Free: freePages}
	var err error
	if s.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
		return err
	}
	if s.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
		return err
	}
	info, err := dataset.Make(ctx, s, path)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(info)
}
