package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/state"
)

// Setup is what the first node of a bare lab is told besides the lab's own configuration.
type Setup struct {
	// EtcdConfig is a file with kubeadm's configuration, of which the block etcd is taken.
	EtcdConfig string
	// Ignore are further checks of kubeadm's to ignore.
	Ignore []string
}

// etcd is the block of the file from its first line to the next key beside it.
func (s Setup) etcd() (string, error) {
	if s.EtcdConfig == "" {
		return "", nil
	}
	b, err := os.ReadFile(s.EtcdConfig)
	if err != nil {
		return "", fmt.Errorf("etcd's part of the configuration: %w", err)
	}
	var out strings.Builder
	inside := false
	for _, line := range strings.Split(string(b), "\n") {
		if line != "" && line[0] != ' ' && line[0] != '-' {
			inside = strings.HasPrefix(line, "etcd:")
		}
		if inside && line != "" {
			out.WriteString(line + "\n")
		}
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("%s has no block etcd", s.EtcdConfig)
	}
	return out.String(), nil
}

func (s Setup) ignore() string { return strings.Join(append([]string{ignored}, s.Ignore...), ",") }

// Init makes the cluster of a bare lab on its first node.
func (l *Lab) Init(ctx context.Context, s Setup) error {
	if l.S == nil || l.S.Phase != state.Up {
		return errNoLab
	}
	n := l.S.Nodes[0]
	if n.Joined {
		return fmt.Errorf("%s has a cluster already", n.Name)
	}
	began := time.Now()
	if err := l.kubeadmInit(ctx, n, s); err != nil {
		return err
	}
	return l.awaitReady(ctx, []*state.Node{n}, began)
}

// Join joins a node that runs to the cluster, with the credentials that Init made.
func (l *Lab) Join(ctx context.Context, name string) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	if n.Joined {
		return fmt.Errorf("%s has joined already", n.Name)
	}
	if !l.S.Nodes[0].Joined {
		return errors.New("there is no cluster yet: lab init")
	}
	began := time.Now()
	if err := l.kubeadmJoin(ctx, n); err != nil {
		return err
	}
	return l.awaitReady(ctx, []*state.Node{n}, began)
}
