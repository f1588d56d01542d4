package pki

import "clusteretcd.io/ceo/internal/node"

// Renewal is one certificate that was issued, or could not be.
type Renewal struct {
	Name string
	// Why it was, or had to be, issued.
	Why string
	Err error
}

// Renew sees to every certificate of a node that etcd's CA signs: the agent's, the admin's, the operator's and those of
// kubeadm's that etcd and its clients use. One that fails does not keep the others from being renewed. What needs nothing
// is not in the answer.
func Renew(p node.Paths, h Host) []Renewal {
	var out []Renewal
	add := func(name, why string, err error) {
		if why != "" || err != nil {
			out = append(out, Renewal{Name: name, Why: why, Err: err})
		}
	}
	agent, admin, operator := agentRequest(h.Name, h.Address, h.Now, h.Also...), adminRequest(h.Name, h.Now), operatorRequest(h.Name, h.Now)
	agent.Life, admin.Life, operator.Life = h.Life, h.Life, h.Life
	why, err := ensure(p, agentPlace(p), agent)
	add(AgentPair, why, err)
	why, err = ensure(p, adminPlace(p), admin)
	add(AdminPair, why, err)
	why, err = ensureOperator(p, operator)
	add(OperatorPair, why, err)
	for _, l := range Leaves() {
		why, err = EnsureLeaf(p, l, h)
		add(l.Name, why, err)
	}
	return out
}
