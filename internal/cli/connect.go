package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// Target says which agent is asked: that of this node over its root-only
// socket, or another with a certificate.
type Target struct {
	Paths node.Paths
	// Agent is a host, or host:port; empty for this node's socket.
	Agent string
	// Files are empty for the admin's pair of a control-plane node.
	Files pki.Files
}

// local reports whether this node's own agent is asked.
func (t Target) local() bool { return t.Agent == "" }

// name of the agent for messages.
func (t Target) name() string {
	if t.local() {
		return "the agent on this node"
	}
	return "the agent at " + t.Agent
}

func (t Target) connect() (*grpc.ClientConn, agentpb.AgentClient, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, nil, err
	}
	return conn, agentpb.NewAgentClient(conn), nil
}

func (t Target) dial() (*grpc.ClientConn, error) {
	if t.local() {
		if _, err := os.Stat(t.Paths.AgentSocket()); errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("the agent's socket %s is root's alone: run this as root on a control-plane node, or name an agent with --agent HOST and a certificate", t.Paths.AgentSocket())
		}
		return client.Socket(t.Paths)
	}
	address := t.Agent
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(node.AgentPort))
	}
	files := t.Files
	admin := pki.AdminFiles(t.Paths)
	for _, f := range []struct{ have, instead *string }{{&files.Cert, &admin.Cert}, {&files.Key, &admin.Key}, {&files.CA, &admin.CA}} {
		if *f.have == "" {
			*f.have = *f.instead
		}
	}
	return client.Dial(address, files)
}

// silentAgent reports whether a call failed because nobody answered.
func silentAgent(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.DeadlineExceeded
}

// observeLimit bounds a look at all nodes: an agent gives each peer 3 s.
const observeLimit = 8 * time.Second

func observe(ctx context.Context, a agentpb.AgentClient) (*agentpb.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	return a.Observe(ctx, &agentpb.ObserveRequest{})
}

// unanswered says what to look at where an agent does not answer.
func (t Target) unanswered(err error) error {
	if !silentAgent(err) {
		return err
	}
	if t.local() {
		return fmt.Errorf("%s does not answer (%s): see `crictl ps -a --name ceo-agent`, its log, and `systemctl status kubelet`; was `ceo node install` run here?", t.name(), cause(err))
	}
	return fmt.Errorf("%s does not answer (%s): is the node up, and does its port %d let this machine in?", t.name(), cause(err), node.AgentPort)
}

// cause is the innermost reason of a connection that did not come about.
func cause(err error) string {
	r := client.Reason(err)
	for _, prefix := range []string{"its agent does not answer: ", "connection error: desc = ", "transport: Error while dialing: "} {
		r = strings.TrimPrefix(r, prefix)
	}
	return strings.Trim(r, `"`)
}
