package backups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Limit of one backup, and of one proof: gigabytes to a store that is far away.
const Limit = time.Hour

// claimLimit bounds the look at the node's clock.
const claimLimit = 5 * time.Second

var ended = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "ceo_backups_total", Help: "Backups and proofs of EtcdBackups that have ended, by condition (Succeeded, Proven) and its status.",
}, []string{"condition", "status"})

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() { metrics.Registry.MustRegister(ended) }

// lostError says that it is not known what came of a call.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// claim writes down, before anything is begun, on which node and when by that node's clock: what finds the backup again,
// should nobody hear of it.
func (c *Controller) claim(ctx context.Context, b *v1alpha1.EtcdBackup, a Action) error {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	agent, err := c.Agents.Agent(a.Node.Address)
	if err != nil {
		return err
	}
	s, err := agent.Inspect(ctx, &agentpb.InspectRequest{Quick: true})
	if err != nil {
		return err
	}
	t := metav1.NewTime(s.GetAt().AsTime()).Rfc3339Copy()
	b.Status.Node, b.Status.StartTime = a.Node.Name, &t
	c.set(b, v1alpha1.ConditionSucceeded, metav1.ConditionUnknown, v1alpha1.ReasonRunning, "it is made on "+a.Node.Name+": "+a.Reason)
	return nil
}

// make finds the backup that was made before, or has it made.
func (c *Controller) make(ctx context.Context, b *v1alpha1.EtcdBackup, n observe.Node) error {
	taken, err := c.taken(ctx, b.Name)
	if err != nil {
		return &lostError{err}
	}
	l, err := observe.Catalogue(ctx, c.Agents, n.Address)
	if err != nil {
		return lost(err)
	}
	if e, ok := Adopt(l.Entries, n.Name, b.Status.StartTime.Time, taken); ok {
		c.Log.Info("a backup that was made before is taken over", "backup", b.Name, "id", e.ID)
		c.made(b, e, l.Store)
		return nil
	}
	agent, err := c.Agents.Agent(n.Address)
	if err != nil {
		return lost(err)
	}
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	s, err := agent.CreateBackup(ctx, &agentpb.CreateBackupRequest{})
	if err != nil {
		return lost(err)
	}
	m, err := receive[keep.Made](s)
	if err != nil {
		return lost(err)
	}
	c.made(b, backup.Entry{ID: m.Manifest.ID, Manifest: m.Manifest, Size: m.Manifest.StoredSize()}, m.Store)
	return nil
}

// taken are the backups that other EtcdBackups have.
func (c *Controller) taken(ctx context.Context, but string) (map[string]bool, error) {
	var list v1alpha1.EtcdBackupList
	if err := c.Live.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the EtcdBackups: %w", err)
	}
	out := map[string]bool{}
	for _, b := range list.Items {
		if b.Name != but && b.Status.Backup != nil {
			out[b.Status.Backup.ID] = true
		}
	}
	return out, nil
}

func (c *Controller) made(b *v1alpha1.EtcdBackup, e backup.Entry, location string) {
	m := e.Manifest
	now := metav1.NewTime(c.Now()).Rfc3339Copy()
	s := &b.Status
	s.Backup, s.Location, s.Member, s.EtcdVersion, s.CompletionTime = observe.Reference(e), location, m.Cluster.Member, m.Cluster.EtcdVersion, &now
	s.Keys, s.DBSizeBytes, s.StoredBytes = max(m.Database.LiveKeys, 0), m.Database.Size, m.StoredSize()
	c.set(b, v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonBackupVerified, fmt.Sprintf("backup %s of %s: %s", m.ID, m.Cluster.Member, m.ReadBack))
	c.Watch.ReadCatalogues()
}

func (c *Controller) prove(ctx context.Context, b *v1alpha1.EtcdBackup, n observe.Node) error {
	agent, err := c.Agents.Agent(n.Address)
	if err != nil {
		return lost(err)
	}
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	s, err := agent.ProveBackup(ctx, &agentpb.BackupRequest{Name: b.Status.Backup.ID})
	if err != nil {
		return lost(err)
	}
	v, err := receive[keep.Verified](s)
	if err != nil {
		return lost(err)
	}
	if v.Entry.Proof == nil {
		return fmt.Errorf("the agent of %s says that backup %s was proven, and gives no proof", n.Name, v.Entry.ID)
	}
	b.Status.Backup = observe.Reference(v.Entry)
	b.Status.ProofRestoreTime = &metav1.Duration{Duration: (v.Entry.Proof.RestoreTime + v.Entry.Proof.ServeTime).Round(time.Millisecond)}
	c.set(b, v1alpha1.ConditionProven, metav1.ConditionTrue, v1alpha1.ReasonProven, fmt.Sprintf("restored on %s, and served by etcd %s", n.Name, v.Entry.Proof.EtcdVersion))
	c.Watch.ReadCatalogues()
	return nil
}

// receive reads a stream of progress to its result.
func receive[T any](s grpc.ServerStreamingClient[agentpb.BackupEvent]) (T, error) {
	var out T
	for {
		e, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return out, &lostError{errors.New("the agent ended without a result")}
		case err != nil:
			return out, err
		case len(e.GetResult()) > 0:
			if err := json.Unmarshal(e.GetResult(), &out); err != nil {
				return out, fmt.Errorf("the agent's result: %w", err)
			}
			return out, nil
		}
	}
}

// lost keeps an agent's word that it failed, and marks everything that says nothing of the backup itself.
func lost(err error) error {
	var l *lostError
	if errors.As(err, &l) {
		return err
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return &lostError{err}
	}
	return err
}
