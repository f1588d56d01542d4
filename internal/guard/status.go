package guard

import (
	"time"
)

// State is what the guard is doing.
type State string

// The states. Only in starting, running and stopping is there an etcd.
const (
	Deciding State = "deciding"
	Starting State = "starting"
	Running  State = "running"
	Stopping State = "stopping"
	Held     State = "held"
	Waiting  State = "waiting"
	Refused  State = "refused"
	// Exited is found in guard.json only: etcd ended by itself, and the
	// guard with it.
	Exited State = "exited"
)

// Status is what the guard answers to the agent, and what guard.json keeps of
// it when the guard is gone.
type Status struct {
	State State `json:"state"`
	// HoldID is the hold in force; set as soon as it is seen, and etcd is
	// certainly gone only when State is held.
	HoldID   string    `json:"holdID,omitempty"`
	GuardPID int       `json:"guardPID"`
	ChildPID int       `json:"childPID,omitempty"`
	Since    time.Time `json:"since"`
	// ExitCode of the last etcd, with Exited.
	ExitCode int      `json:"exitCode,omitempty"`
	Decision Decided  `json:"decision"`
	EtcdArgs []string `json:"etcdArgs,omitempty"`
}

// Decided is the last decision with what it was made of.
type Decided struct {
	Decision
	Saw Saw       `json:"saw"`
	At  time.Time `json:"at"`
}

// same reports whether two decisions tell a person the same.
func (d Decision) same(o Decision) bool {
	return d.Answer == o.Answer && d.Archive == o.Archive && d.Reason == o.Reason
}

func stateOf(a Answer) State {
	switch a {
	case Hold:
		return Held
	case Refuse:
		return Refused
	case Wait:
		return Waiting
	case Start, Join, Bootstrap:
		return Starting
	}
	return Deciding
}
