package keep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/node"
)

// Pruned is what retention decided, and whether it was carried out.
type Pruned struct {
	Decision backup.Decision `json:"decision"`
	Store    string          `json:"store"`
	Removed  bool            `json:"removed"`
}

// PruneOptions of PruneAs.
type PruneOptions struct {
	// Dry says what would be removed, and removes nothing.
	Dry bool
	// Retention in the place of the configured one; with it only this cluster's own backups are removed.
	Retention backup.Policies
	// Store that the caller means; empty: the configured one.
	Store string
}

// ErrElsewhere: backups go elsewhere than the caller thinks.
var ErrElsewhere = errors.New("the node's backups go elsewhere by now")

// Prune applies the configured retention, or with dry says what it would do.
func (k Keeper) Prune(ctx context.Context, dry bool) (Pruned, error) {
	return k.PruneAs(ctx, PruneOptions{Dry: dry})
}

// PruneAs applies a retention. Nothing is removed from a store that the caller does not mean, nor, where the place or the
// retention was not chosen on this node, another cluster's backup.
func (k Keeper) PruneAs(ctx context.Context, po PruneOptions) (Pruned, error) {
	o, err := k.open(ctx)
	if err != nil {
		return Pruned{}, err
	}
	defer func() { _ = o.Close() }()
	if po.Store != "" && po.Store != o.URL() {
		return Pruned{}, fmt.Errorf("%w: %s was meant, and they go to %s: nothing is removed; what is left there is for `ceo backup prune --store`", ErrElsewhere, po.Store, o.URL())
	}
	l, err := backup.List(ctx, o.Store)
	if err != nil {
		return Pruned{}, err
	}
	retention, others := backup.Policies{o.config.Retention}, []backup.Verdict(nil)
	if len(po.Retention) > 0 || o.placed {
		if l, others, err = k.own(l); err != nil {
			return Pruned{}, err
		}
	}
	if len(po.Retention) > 0 {
		retention = po.Retention
	}
	p := Pruned{Decision: retention.Retain(l, k.now()), Store: o.URL()}
	p.Decision.Keep = append(p.Decision.Keep, others...)
	if po.Dry || len(p.Decision.Remove) == 0 {
		return p, nil
	}
	if err := backup.Prune(ctx, o.Store, p.Decision); err != nil {
		return p, err
	}
	p.Removed = true
	return p, nil
}

// own leaves this cluster's backups: those of any epoch that this node knows of. A node that knows of none has seen no
// etcd yet, and can tell none apart.
func (k Keeper) own(l backup.Catalogue) (backup.Catalogue, []backup.Verdict, error) {
	c, err := node.Load(k.Paths)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return l, nil, nil // no node of a cluster: nothing is placed there either
		}
		return l, nil, err
	}
	if len(c.Lineage) == 0 {
		return l, nil, nil
	}
	own, others := backup.Own(l, func(id string) bool {
		_, ok := c.Lineage.EpochOf(id)
		return ok
	})
	return own, others, nil
}
