package pki

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// OperatorUser is the user and the group that the operator's container runs as: no root, and nobody else on the node.
const OperatorUser = 65532

// operatorOwner is changed by tests that do not run as root.
var operatorOwner = owner{OperatorUser, OperatorUser}

// OperatorFiles are what the operator on this node calls the agents with.
func OperatorFiles(p node.Paths) Files {
	return Files{
		Cert: filepath.Join(p.OperatorPKI(), OperatorPair+".crt"),
		Key:  filepath.Join(p.OperatorPKI(), OperatorPair+".key"),
		CA:   filepath.Join(p.OperatorPKI(), "ca.crt"),
	}
}

// EnsureOperator is EnsureAgent for the pair of the operator, with a copy of etcd's CA beside it: its pod mounts that
// folder and nothing else of the node.
func EnsureOperator(p node.Paths, nodeName string, now time.Time) (why string, err error) {
	return ensureOperator(p, operatorRequest(nodeName, now))
}

// WhyOperator answers what EnsureOperator would do, and changes nothing.
func WhyOperator(p node.Paths, nodeName string, now time.Time) string {
	if why := whyOperatorCA(p); why != "" {
		return why
	}
	return whyIssue(p, operatorPlace(p), operatorRequest(nodeName, now))
}

func operatorRequest(nodeName string, now time.Time) Request {
	return Request{CommonName: "ceo-operator:" + nodeName, Role: Operator, Now: now}
}

func ensureOperator(p node.Paths, want Request) (string, error) {
	// The CA first: whom to trust must be known before what it signed is shown.
	why := whyOperatorCA(p)
	if why != "" {
		raw, err := os.ReadFile(filepath.Join(p.EtcdPKI(), "ca.crt"))
		if err != nil {
			return "", fmt.Errorf("the operator's copy of etcd's CA: %w", err)
		}
		if err := operatorFolder(p); err != nil {
			return "", err
		}
		if err := place(OperatorFiles(p).CA, raw, 0o400, operatorOwner); err != nil {
			return "", fmt.Errorf("the operator's copy of etcd's CA: %w", err)
		}
	}
	issued, err := ensure(p, operatorPlace(p), want)
	if issued != "" {
		why = issued
	}
	return why, err
}

func whyOperatorCA(p node.Paths) string {
	want, err := os.ReadFile(filepath.Join(p.EtcdPKI(), "ca.crt"))
	if err != nil {
		return "" // nothing to copy
	}
	have, err := os.ReadFile(OperatorFiles(p).CA)
	if err != nil {
		return fmt.Sprintf("the operator has no copy of etcd's CA: %v", err)
	}
	if !bytes.Equal(have, want) {
		return "the operator's copy of etcd's CA is another"
	}
	return ""
}

func operatorFolder(p node.Paths) error {
	if err := durable.MkdirAll(p.OperatorPKI(), 0o700); err != nil {
		return err
	}
	if err := os.Chown(p.OperatorPKI(), operatorOwner.uid, operatorOwner.gid); err != nil {
		return fmt.Errorf("give %s to the operator's user %d: %w", p.OperatorPKI(), operatorOwner.uid, err)
	}
	return nil
}

func operatorPlace(p node.Paths) pairPlace {
	return pairPlace{dir: p.OperatorPKI(), name: OperatorPair, write: func(pair Pair) error {
		if err := operatorFolder(p); err != nil {
			return err
		}
		files := OperatorFiles(p)
		if err := place(files.Key, pair.Key, 0o400, operatorOwner); err != nil {
			return fmt.Errorf("write the operator's key: %w", err)
		}
		if err := place(files.Cert, pair.Cert, 0o400, operatorOwner); err != nil {
			return fmt.Errorf("write the operator's certificate: %w", err)
		}
		return nil
	}}
}
