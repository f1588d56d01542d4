// Package agentpb is the agent's protocol. agent.pb.go and agent_grpc.pb.go
// are generated from agent.proto by `make generate`.
package agentpb
