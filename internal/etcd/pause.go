package etcd

// Pause is why nothing at all is to be done. Every decision about a running
// cluster asks it first.
type Pause struct {
	// Unmanaged: a person has set managementState so, and works by hand.
	Unmanaged bool
	// Recovery is the id of a recovery whose journal is open on any agent, "" for
	// none. Its coordinator adds the members; two that do would be in each
	// other's way (P17).
	Recovery string
	// Unread says which agent could not be asked for its journal, while too few
	// answer to rule an open recovery out; "" if all that is needed is known.
	Unread string
}

// MayAct is the answer, with what a person does to change it.
func (p Pause) MayAct() Verdict {
	switch {
	case p.Recovery != "":
		return Verdict{false, "recovery " + p.Recovery + " is open, and its coordinator alone changes the cluster until it has ended (P17): see `ceo status`"}
	case p.Unmanaged:
		return Verdict{false, "managementState is Unmanaged: nothing is changed until a person sets it to Managed"}
	case p.Unread != "":
		return Verdict{false, "whether a recovery is open is not known: " + p.Unread}
	}
	return Verdict{true, "managed, and no recovery is open"}
}
