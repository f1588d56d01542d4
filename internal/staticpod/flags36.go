package staticpod

import (
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/etcd/upgrade"
)

// series36 is where etcd's experimental flags got names of their own. 3.6 knows both, 3.7 the new ones alone.
var series36 = upgrade.Version{Major: 3, Minor: 6}

const experimental = "experimental-"

// gates are the experimental flags of 3.5 that became feature gates in 3.6 (etcd's server/features).
var gates = map[string]string{
	"experimental-initial-corrupt-check":             "InitialCorruptCheck",
	"experimental-compact-hash-check-enabled":        "CompactHashCheck",
	"experimental-stop-grpc-service-on-defrag":       "StopGRPCServiceOnDefrag",
	"experimental-txn-mode-write-with-shared-buffer": "TxnModeWriteWithSharedBuffer",
	"experimental-enable-lease-checkpoint":           "LeaseCheckpoint",
	"experimental-enable-lease-checkpoint-persist":   "LeaseCheckpointPersist",
}

// gone36 are flags that 3.6 does not start with, and that have nothing in their place.
var gone36 = []string{"enable-v2", "experimental-enable-v2v3", "proxy", "proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout", "proxy-write-timeout", "proxy-read-timeout"}

const gatesFlag = "feature-gates"

// translate gives a command line the names that the other version's flags have: 3.5 does not know the new ones, 3.7 not
// the old ones, and an etcd with a flag that it does not know does not start.
func translate(args []string, from, to upgrade.Version) []string {
	switch {
	case from.Less(series36) && !to.Less(series36):
		return to36(args)
	case !from.Less(series36) && to.Less(series36):
		return to35(args)
	case !to.Less(upgrade.Version{Major: 3, Minor: 7}):
		// A person may have left the old names on 3.6.
		return to36(args)
	}
	return args
}

func to36(args []string) []string {
	var on []string
	for i := 1; i < len(args); {
		a, ok := argAt(args, i)
		if !ok || !strings.HasPrefix(a.name, experimental) && !slices.Contains(gone36, a.name) {
			i += a.words
			continue
		}
		gate, isGate := gates[a.name]
		switch {
		case slices.Contains(gone36, a.name):
			args = replaceFlag(args, a.name, nil, false)
		case isGate:
			on = append(on, gate+"="+a.value)
			args = replaceFlag(args, a.name, nil, false)
		default:
			args = replaceFlag(args, a.name, []string{"--" + strings.TrimPrefix(a.name, experimental) + "=" + a.value}, false)
			i++
		}
	}
	if len(on) == 0 {
		return args
	}
	// What is said outright stays; etcd does not start with a gate that is named twice and differs.
	all := list(flagsOf(args)[gatesFlag])
	for _, g := range on {
		name, _, _ := strings.Cut(g, "=")
		if !slices.ContainsFunc(all, func(a string) bool { return strings.HasPrefix(a, name+"=") }) {
			all = append(all, g)
		}
	}
	on = all
	return setFlag(args, gatesFlag, strings.Join(on, ","))
}

// moved are those of 3.6 whose 3.5 name has the prefix.
var moved = []string{
	"watch-progress-notify-interval", "corrupt-check-time", "compact-hash-check-time", "compaction-batch-limit", "compaction-sleep-interval",
	"warning-apply-duration", "downgrade-check-time", "bootstrap-defrag-threshold-megabytes", "max-learners", "memory-mlock",
	"snapshot-catchup-entries", "peer-skip-client-san-verification",
}

func to35(args []string) []string {
	for _, name := range moved {
		if v, ok := flagsOf(args)[name]; ok {
			args = replaceFlag(args, name, []string{"--" + experimental + name + "=" + v}, false)
		}
	}
	on, ok := flagsOf(args)[gatesFlag]
	if !ok {
		return args
	}
	var by []string
	for _, g := range list(on) {
		name, value, _ := strings.Cut(g, "=")
		for flag, gate := range gates {
			if gate == name {
				by = append(by, "--"+flag+"="+value)
			}
		}
	}
	return replaceFlag(args, gatesFlag, by, false)
}
