package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	partRestore = "restore"
	partBackup  = "backup"
	partStore   = "store"
)

// allParts in the order in which they run.
var allParts = []string{partRestore, partBackup, partStore}

type parts map[string]bool

// parseParts reads a list; empty is all.
func parseParts(list string) (parts, error) {
	p := parts{}
	if list == "" {
		list = strings.Join(allParts, ",")
	}
	for _, name := range strings.Split(list, ",") {
		if !slices.Contains(allParts, name) {
			return nil, fmt.Errorf("there is no part %q; there are %s", name, strings.Join(allParts, ", "))
		}
		p[name] = true
	}
	return p, nil
}

func (b *bench) part(name string) func(context.Context, *generated, *Database) error {
	return map[string]func(context.Context, *generated, *Database) error{
		partRestore: b.restores,
		partBackup:  b.backups,
		partStore:   b.loads,
	}[name]
}

// way of doing something.
type way struct {
	name string
	run  func(ctx context.Context) error
}

// rounds runs every way once a round, each round beginning with another one, with nothing left to flush from before.
func (b *bench) eachRound(ctx context.Context, ways []way) error {
	for round := range b.rounds {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			if err := b.clear(); err != nil {
				return err
			}
			if err := w.run(ctx); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, w.name, err)
			}
		}
	}
	return nil
}
