package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// The steps of a change of the CA that restart something.
const (
	stepRestartEtcd      = "restart-etcd"
	stepRestartAPIServer = "restart-apiserver"
)

// What etcd and kube-apiserver get to end in good order. etcd's is well below the 25 s that the lock lasts.
const (
	etcdGrace      = 10 * time.Second
	apiServerGrace = 15 * time.Second
)

// restartForCA has the kubelet start etcd or kube-apiserver anew, so that it reads the bundle. What has read it already is
// left, so that an order that arrives twice, or late, restarts nothing (I20). Its manifest stays as it is: this is no
// revision, and nothing could be rolled back.
func (a *Agent) restartForCA(ctx context.Context, req *agentpb.RotateCARequest) error {
	a.act.Lock()
	defer a.act.Unlock()
	if why := decidePlacing(a.placing(req.GetClusterId())); why != "" {
		return status.Error(codes.FailedPrecondition, why)
	}
	needs, err := needsRestart(req.GetStep(), a.caState(ctx))
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if !needs {
		return nil
	}
	if req.GetStep() == stepRestartAPIServer {
		if err := a.cri.Restart(ctx, "kube-apiserver", apiServerGrace); err != nil {
			return toStatus(err)
		}
		a.log.Info("kube-apiserver is restarted for a change of etcd's CA", "reason", req.GetReason())
		return nil
	}
	who := fmt.Sprintf("a restart of etcd on %s for a change of the CA", a.Config().Name)
	// Once it is stopped it answers nobody, and every other look under the lock sees that: no second one can begin (I6).
	err = a.restartUnderLock(ctx, who, false, func(ctx context.Context) error { return a.cri.Restart(ctx, "etcd", etcdGrace) })
	switch {
	case errors.Is(err, errMustNot):
		return status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return toStatus(err)
	}
	a.log.Info("etcd is restarted for a change of its CA", "reason", req.GetReason())
	return nil
}

// needsRestart: what runs has not read what lies in the bundle. What is not known is an error (I23).
func needsRestart(step string, s *agentpb.CAState) (bool, error) {
	switch {
	case s == nil:
		return false, errors.New("no change of the CA was begun on this node: there is nothing to be restarted for")
	case s.GetError() != "":
		return false, errors.New(s.GetError())
	case step == stepRestartAPIServer && s.GetApiServerError() != "":
		return false, errors.New("which kube-apiserver runs is not known: " + s.GetApiServerError())
	case step == stepRestartAPIServer:
		return s.GetApiServerStale(), nil
	case s.GetEtcdError() != "":
		return false, errors.New("whom etcd trusts is not known: " + s.GetEtcdError())
	}
	return !slices.Equal(slices.Sorted(slices.Values(s.GetEtcdTrusts())), slices.Sorted(slices.Values(s.GetTrusted()))), nil
}
