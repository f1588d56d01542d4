package keep

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
)

// localClientURL is where kubeadm's etcd always listens for its own node.
const localClientURL = "https://127.0.0.1:2379"

// answerLimit bounds each member's answer: a dark one must not make the others look dark (P21).
const answerLimit = 3 * time.Second

// members asks every member that this node knows of, in parallel.
func members(ctx context.Context, c node.Config, local string, t *tls.Config) []Member {
	ms := []Member{{Name: c.Name, Endpoint: local, Local: true}}
	for _, p := range c.Peers {
		if p.ClientURL != "" {
			ms = append(ms, Member{Name: p.Name, Endpoint: p.ClientURL})
		}
	}
	var wg sync.WaitGroup
	for i := range ms {
		wg.Go(func() { ask(ctx, &ms[i], t) })
	}
	wg.Wait()
	return ownCluster(ms)
}

func ask(ctx context.Context, m *Member, t *tls.Config) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	began := time.Now()
	m.Err = func() error {
		c, err := etcdclient.Dial([]string{m.Endpoint}, t)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		st, err := c.Status(ctx, m.Endpoint)
		if err != nil {
			return err
		}
		m.ID, m.ClusterID, m.Leader, m.Learner = st.MemberID, st.ClusterID, st.Leader, st.Learner
		m.Applied, m.Revision, m.DBSize, m.Version, m.Alarms = st.AppliedIndex, st.Revision, st.DBSize, st.Version, st.Errors
		return nil
	}()
	m.Took = time.Since(began)
}

// ownCluster drops members of another cluster than most: a fenced one that still runs must not be what is backed up.
// This node's own decides where it answers.
func ownCluster(ms []Member) []Member {
	votes := map[uint64]int{}
	var cluster uint64
	for _, m := range ms {
		if m.Err != nil {
			continue
		}
		votes[m.ClusterID]++
		if m.Local {
			votes[m.ClusterID] += len(ms)
		}
		if votes[m.ClusterID] > votes[cluster] {
			cluster = m.ClusterID
		}
	}
	out := slices.Clone(ms)
	for i, m := range out {
		if m.Err == nil && m.ClusterID != cluster {
			out[i].Err = fmt.Errorf("it is of cluster %s, not %s", node.FormatID(m.ClusterID), node.FormatID(cluster))
		}
	}
	return out
}
