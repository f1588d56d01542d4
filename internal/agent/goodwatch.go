package agent

import (
	"context"
	"errors"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/revision"
)

// steady is for how many looks in a row a node must be healthy with a revision before that counts as good: an etcd that
// crashes again and again is healthy in between.
const steady = 3

// goodWatch counts them.
type goodWatch struct {
	revision string
	looks    int
	// settled is the manifest and the index once the one is recorded in the other as good: until one of them is another,
	// there is nothing to record, and the runtime need not be asked. Who asks for the node's state asks it anew.
	settled string
	rests   int // looks that were spared since
}

// restFor is how many looks in a row are spared: a kept manifest that somebody removed is back within a minute.
const restFor = 11

// note records what this node's revision is, and that it is good.
func (g *goodWatch) note(ctx context.Context, a *Agent, st *agentpb.Etcd) {
	before := a.shelf().Stamp()
	if g.rests++; serves(st) && before != "" && before == g.settled && g.rests <= restFor {
		return
	}
	g.settled, g.rests = "", 0
	r := a.revisions(ctx)
	if r == nil || r.GetPlaced() == "" {
		return
	}
	if r.GetError() != "" || r.GetPlaced() != r.GetRunning() || !serves(st) {
		g.looks = 0
	} else if g.revision != r.GetPlaced() {
		g.revision, g.looks = r.GetPlaced(), 1
	} else {
		g.looks++
	}
	if !a.act.TryLock() {
		return // something is being changed: the next look
	}
	defer a.act.Unlock()
	if err := a.shelf().Note(r.GetPlaced(), g.looks >= steady, revision.Now()); err != nil && !errors.Is(err, revision.ErrOutOfService) {
		a.log.Error("record etcd's revision", "error", err)
	} else if err == nil && g.looks >= steady && a.shelf().Stamp() == before {
		g.settled = before // and nothing was written: it was recorded at an earlier look
	}
}
