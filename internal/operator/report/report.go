// Package report is what controllers tell the one that writes the EtcdCluster's status. Conditions that several of them
// have a say in are written by one.
package report

import "clusteretcd.io/ceo/api/v1alpha1"

// Note is a condition's reason and message.
type Note struct {
	Reason, Message string
	// Waits (of Progressing): there is something to do, and nothing is being done.
	Waits bool
}

// Report is what a controller adds to the status. The zero value adds nothing.
type Report struct {
	// Generation of the specification that it is about: the status is not newer than that.
	Generation int64
	// Progressing: what it is changing; nil for nothing.
	Progressing *Note
	// Degraded: what a person, or this controller, has to mend.
	Degraded []Note
	// Upgradeable: why no upgrade may be begun; nil for no objection.
	Upgradeable *Note
	// Rollout is the roll-out without its number and times, which follow from the one of before.
	Rollout *v1alpha1.RolloutStatus
	// CARotation is the change of the CA without its times.
	CARotation *v1alpha1.CARotationStatus
}

// Reporter is a controller that has something to say. It is asked at any time.
type Reporter interface{ Report() Report }
