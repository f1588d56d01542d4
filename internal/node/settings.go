package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

// Settings is settings.json: what the cluster's specification says that a node acts on by itself, with the API server
// down too. It holds no credentials: those are in the node's own backup.yaml (P29).
type Settings struct {
	Backup BackupSettings `json:"backup,omitzero"`
	// LeafLife is how long certificates of servers, peers and clients last, in seconds; 0: as built in.
	LeafLife int64 `json:"leafLife,omitempty"`
	// NodeAddress is the Node's InternalIP by the operator's last word that it is not this node's address.
	NodeAddress string `json:"nodeAddress,omitempty"`
}

// BackupSettings say where backups go and what they hold.
type BackupSettings struct {
	Location   string   `json:"location,omitempty"`
	Recipients []string `json:"recipients,omitempty"`
	// Resources: the static files too; nil: as the node's own file says.
	Resources *bool `json:"resources,omitempty"`
	// Retention is in internal/backup's form. It is for backups in Location alone.
	Retention json.RawMessage `json:"retention,omitempty"`
}

// Settings is settings.json.
func (p Paths) Settings() string { return filepath.Join(p.State(), "settings.json") }

// LeafLifetime is LeafLife as a duration; the default where it is 0.
func (s Settings) LeafLifetime(otherwise time.Duration) time.Duration {
	if s.LeafLife <= 0 {
		return otherwise
	}
	return time.Duration(s.LeafLife) * time.Second
}

// LoadSettings reads settings.json; false where nothing was placed. One that cannot be read is an error, not a default:
// backups would go elsewhere than everybody thinks.
func LoadSettings(p Paths) (Settings, bool, error) {
	s, err := durable.ReadJSON[Settings](p.Settings())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Settings{}, false, nil
	case err != nil:
		return Settings{}, false, fmt.Errorf("what the cluster's specification says: %w; if the file is damaged, remove it: the operator places it again", err)
	}
	s.Backup.Retention = compact(s.Backup.Retention)
	return s, true, nil
}

// compact undoes the indentation of the file, so that what was placed compares equal to what is asked for.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// Normal is s as LoadSettings gives it.
func (s Settings) Normal() Settings {
	s.Backup.Retention = compact(s.Backup.Retention)
	return s
}

// SaveSettings writes settings.json durably, for root alone.
func SaveSettings(p Paths, s Settings) error {
	if err := durable.WriteJSON(p.Settings(), s, 0o600); err != nil {
		return fmt.Errorf("record the settings: %w", err)
	}
	return nil
}
