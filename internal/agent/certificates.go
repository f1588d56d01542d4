package agent

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// renewCertificates sees to the certificates of this node, from the CA on disk:
// the agent's, the admin's and the operator's, and those of etcd and its
// clients. A node that was off for a year has to be asked, and recovered, too
// (P9). A CA key that is kept elsewhere is no reason not to serve with what is
// there. said holds what was complained of last time: it is said once.
func renewCertificates(o Options, c node.Config, life time.Duration, said map[string]string) map[string]string {
	problems := map[string]string{}
	for _, r := range pki.Renew(o.Paths, pki.Host{Name: c.Name, Address: c.Address, Also: instead(c.Address, o.interfaces()), Life: life, Now: time.Now()}) {
		if r.Err == nil {
			o.Log.Info("certificate issued", "certificate", r.Name, "why", r.Why)
			continue
		}
		problems[r.Name] = r.Err.Error()
		if said[r.Name] != problems[r.Name] {
			o.Log.Warn("a certificate is not renewed: tried again", "certificate", r.Name, "why", r.Why, "error", r.Err)
		}
	}
	return problems
}

// watchCertificates renews them for as long as the agent runs. etcd and
// kube-apiserver read theirs at each handshake: nothing is restarted.
func (a *Agent) watchCertificates(ctx context.Context, o Options) error {
	var said map[string]string
	for {
		life := a.life()
		t := time.NewTimer(pki.CheckEvery(life))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
			// The life may have been changed meanwhile.
			a.pkiFiles.Lock()
			said = renewCertificates(o, a.Config(), a.life(), said)
			a.pkiFiles.Unlock()
		}
	}
}

// certificates are all on this node, with the CA of etcd's that signed each.
func (a *Agent) certificates() (out []*agentpb.Certificate, problem string) {
	bundle, err := pki.Bundle(a.paths.EtcdPKI())
	var problems []error
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, c := range pki.InspectWith(bundle, a.paths.KubernetesPKI(), a.paths.PKI(), a.paths.OperatorPKI()) {
		if c.Error != "" {
			problems = append(problems, errors.New(c.Path+": "+c.Error))
			continue
		}
		out = append(out, &agentpb.Certificate{
			Path: c.Path, Subject: c.Subject, NotBefore: timestamppb.New(c.NotBefore), NotAfter: timestamppb.New(c.NotAfter), SignedBy: c.SignedBy,
		})
	}
	if err := errors.Join(problems...); err != nil {
		problem = err.Error()
	}
	return out, problem
}
