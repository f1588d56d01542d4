package backup

import (
	"fmt"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/store"
)

// NodeConfig is a node's own configuration: backup.yaml, and where that names nothing, what the cluster's specification
// says (settings.json). Credentials are in backup.yaml only (P29).
type NodeConfig struct {
	Config
	// Placed: the location is the specification's, and not the node's own.
	Placed bool
	// Lacks says that this location takes credentials, and backup.yaml has none; empty otherwise.
	Lacks string
}

// LoadNodeConfig reads both.
func LoadNodeConfig(p node.Paths) (NodeConfig, error) {
	path := p.BackupConfig()
	own, err := readConfig(path)
	if err != nil {
		return NodeConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	placed, _, err := node.LoadSettings(p)
	if err != nil {
		return NodeConfig{}, err
	}
	n, err := merge(own, placed.Backup)
	if err != nil {
		return NodeConfig{}, fmt.Errorf("%s: %w", p.Settings(), err)
	}
	if n.Config, err = n.complete(); err != nil {
		return NodeConfig{}, fmt.Errorf("%s with %s: %w", path, p.Settings(), err)
	}
	n.Lacks = lacks(n.Config, path)
	return n, nil
}

// merge fills in what the node's own file leaves open. A retention is for one place: that of the specification is not
// taken for a place that the node's own file names, where other backups lie (I18).
func merge(own Config, placed node.BackupSettings) (NodeConfig, error) {
	n := NodeConfig{Config: own}
	if own.Location == "" && placed.Location != "" {
		n.Location, n.Placed = placed.Location, true
	}
	if len(own.Recipients) == 0 {
		n.Recipients = placed.Recipients
	}
	if own.Resources == nil {
		n.Resources = placed.Resources
	}
	if own.Retention == (Policy{}) && len(placed.Retention) > 0 && n.Location == placed.Location {
		p, err := ParsePolicies(placed.Retention)
		if err != nil {
			return n, err
		}
		if len(p) != 1 {
			return n, fmt.Errorf("retention: one is wanted, and there are %d", len(p))
		}
		n.Retention = p[0]
	}
	return n, nil
}

// lacks says what a location needs that the node does not have. Without credentials the provider's library still looks
// for some of the machine's (an instance's role), so this is no refusal, but what is said when the store then fails.
func lacks(c Config, path string) string {
	scheme, err := store.Scheme(c.Location)
	if err != nil {
		return ""
	}
	k, want := c.Credentials, ""
	switch scheme {
	case "s3":
		if k.AccessKeyID == "" {
			want = "accessKeyID and secretAccessKey"
		}
	case "azblob":
		if k.AzureKey == "" && k.AzureSAS == "" {
			want = "azureAccount, and azureKey or azureSAS"
		}
	case "gs":
		if k.AccessKeyID == "" && k.GoogleJSON == "" {
			want = "accessKeyID and secretAccessKey, or googleJSON"
		}
	}
	if want == "" {
		return ""
	}
	return fmt.Sprintf("this node has no credentials for it: the specification names a place only, so put %s under credentials in %s, on every control-plane node (docs/stores.md)", want, path)
}

// CheckSettings says what is wrong with settings, before they are placed.
func CheckSettings(s node.BackupSettings) error {
	c := Config{Location: s.Location, Recipients: s.Recipients}
	if s.Location != "" {
		if _, err := store.Scheme(s.Location); err != nil {
			return err
		}
	}
	if _, err := c.recipients(); err != nil {
		return err
	}
	if _, err := merge(Config{}, s); err != nil {
		return err
	}
	return nil
}
