package agent

import (
	"context"
	"path"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/pki"
)

// rule: who may make a call, and why no fewer.
type rule struct {
	roles []pki.Role
	why   string
}

var (
	everybody = []pki.Role{pki.Admin, pki.Operator, pki.Agent, pki.Backup, pki.Viewer}
	lookers   = []pki.Role{pki.Admin, pki.Operator, pki.Agent, pki.Viewer}
	movers    = []pki.Role{pki.Admin, pki.Operator, pki.Agent}
	admins    = []pki.Role{pki.Admin}
	operators = []pki.Role{pki.Admin, pki.Operator}
)

// table is the whole authorisation. A call that is not in it is refused to
// everybody. The node's own socket counts as admin: its file is root's alone.
var table = map[string]rule{
	"Identity":         {movers, "it teaches the callee lineage and peers: a viewer must not"},
	"Inspect":          {lookers, "looks only"},
	"Observe":          {lookers, "looks only"},
	"HoldEtcd":         {movers, "a recovery's coordinator fences other nodes as agent"},
	"ReleaseEtcd":      {movers, "as HoldEtcd"},
	"StopComponents":   {movers, "as HoldEtcd"},
	"StartComponents":  {movers, "as HoldEtcd"},
	"VerifySnapshot":   {append(slices.Clone(movers), pki.Backup), "reads a file on the node whole"},
	"ArchiveDataDir":   {movers, "a step of a recovery"},
	"UnarchiveDataDir": {movers, "a step back of a recovery"},
	"StageRestore":     {movers, "a step of a recovery"},
	"ActivateRestore":  {movers, "a step of a recovery"},
	"NoteEpoch":        {movers, "makes older members stand back"},
	"Kubelet":          {movers, "a step of a recovery"},
	"PutSnapshot":      {movers, "lands on the node's disk, and is restored from"},
	"TakeSnapshot":     {append(slices.Clone(movers), pki.Backup), "holds every Secret of the cluster: no viewer"},
	"PlanRecovery":     {lookers, "looks only"},
	"RunRecovery":      {operators, "a person's decision: the consent comes with the call, the operator's from an EtcdRecovery (I14)"},
	"WatchRecovery":    {everybody, "looks only"},
	"ResumeRecovery":   {admins, "a person's decision"},
	"AbortRecovery":    {admins, "a person's decision"},
	"LetGo":            {admins, "a person's decision"},
	"CreateBackup":     {append(slices.Clone(movers), pki.Backup), "what the role backup is for"},
	"ListBackups":      {everybody, "looks only; a manifest holds names and fingerprints, no secret"},
	"VerifyBackup":     {append(slices.Clone(movers), pki.Backup), "reads a backup whole, gives none of it away"},
	"ProveBackup":      {append(slices.Clone(movers), pki.Backup), "as VerifyBackup, with scratch space on the node"},
	"PruneBackups":     {[]pki.Role{pki.Admin, pki.Operator}, "removes backups: who only makes them must not"},
	"FetchBackup":      {admins, "decrypted, it holds every Secret of the cluster"},
	"ChangeMembers":    {operators, "the operator's, or a person's in its place"},
	"Maintain":         {operators, "as ChangeMembers"},
	"HashStore":        {operators, "reads the whole store: not for whoever only looks"},
	"PlaceRevision":    {operators, "as ChangeMembers"},
	"PlaceSettings":    {operators, "as ChangeMembers"},
	"RotateCA":         {operators, "as ChangeMembers"},
}

// authorize answers whether the caller may make the call.
func authorize(ctx context.Context, fullMethod string) error {
	r, ok := table[path.Base(fullMethod)]
	if !ok {
		return status.Errorf(codes.PermissionDenied, "no rule for %s", fullMethod)
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "caller unknown")
	}
	if p.Addr.Network() == "unix" {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 && len(info.State.PeerCertificates) == 0 {
		return status.Error(codes.Unauthenticated, "no client certificate")
	}
	// The handshake verified the certificate (pki.ServerTLS); here only its
	// role counts.
	role, err := pki.RoleOf(info.State.PeerCertificates[0])
	if err != nil {
		return status.Errorf(codes.Unauthenticated, "client certificate: %v", err)
	}
	if !slices.Contains(r.roles, role) {
		return status.Errorf(codes.PermissionDenied, "role %s may not call %s (%s)", role, path.Base(fullMethod), r.why)
	}
	return nil
}

func unaryAuth(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := authorize(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func streamAuth(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := authorize(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, s)
}
