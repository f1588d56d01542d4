package agent

import (
	"context"
	"reflect"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/node"
)

// PlaceSettings implements agentpb.AgentServer. What cannot be used is refused, and what was placed before stays; what is
// placed already is not written again.
func (a *Agent) PlaceSettings(_ context.Context, req *agentpb.PlaceSettingsRequest) (*agentpb.PlaceSettingsReply, error) {
	if req.GetSettings() == nil {
		return nil, status.Error(codes.InvalidArgument, "there are no settings in the request")
	}
	want := settingsFromPB(req.GetSettings()).Normal()
	if want.LeafLife < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "a certificate cannot last %d seconds", want.LeafLife)
	}
	if want.NodeAddress != "" && !usable(want.NodeAddress) {
		return nil, status.Errorf(codes.InvalidArgument, "a node cannot be reached at %q", want.NodeAddress)
	}
	if err := backup.CheckSettings(want.Backup); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "settings of backups: %v", err)
	}
	a.act.Lock()
	defer a.act.Unlock()
	have, placed, err := node.LoadSettings(a.paths)
	if err == nil && placed && reflect.DeepEqual(have, want) {
		return &agentpb.PlaceSettingsReply{}, nil
	}
	if err != nil {
		a.log.Warn("the settings that were here cannot be read, and are placed anew", "error", err)
	}
	if err := node.SaveSettings(a.paths, want); err != nil {
		return nil, toStatus(err)
	}
	a.log.Info("settings placed", "backups", want.Backup.Location, "recipients", len(want.Backup.Recipients), "leafLife", want.LeafLife)
	return &agentpb.PlaceSettingsReply{Changed: true}, nil
}

// settings are those that were placed; nil where none were, or they cannot be read: they are placed again then.
func (a *Agent) settings() *agentpb.Settings {
	s, ok, err := node.LoadSettings(a.paths)
	if err != nil {
		a.log.Warn("read the settings", "error", err)
	}
	if err != nil || !ok {
		return nil
	}
	b := s.Backup
	return &agentpb.Settings{BackupLocation: b.Location, BackupRecipients: b.Recipients, BackupResources: b.Resources, Retention: b.Retention, LeafLife: s.LeafLife, NodeAddress: s.NodeAddress}
}

func settingsFromPB(s *agentpb.Settings) node.Settings {
	return node.Settings{LeafLife: s.GetLeafLife(), NodeAddress: s.GetNodeAddress(), Backup: node.BackupSettings{
		Location: s.GetBackupLocation(), Recipients: s.GetBackupRecipients(), Resources: s.BackupResources, Retention: s.GetRetention(), //nolint:protogetter // unset is not false
	}}
}

// placedLeafLife asks what was placed for the life of certificates. While the file cannot be read, the last answer stays:
// certificates must not be issued anew because of that.
func placedLeafLife(o Options) func() time.Duration {
	var mu sync.Mutex
	var last time.Duration
	said := false
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		s, _, err := node.LoadSettings(o.Paths)
		if err == nil {
			last = s.LeafLifetime(0)
		} else if !said {
			o.Log.Warn("how long certificates are to last is not known; it stays as it was", "life", last.String(), "error", err)
		}
		said = err != nil
		return last
	}
}
