package agent

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
)

const (
	oldAddress   = "10.0.0.1"
	newAddress   = "10.0.0.2"
	thirdAddress = "192.168.7.3"
)

// TestDecideAddress: P20, I23.
func TestDecideAddress(t *testing.T) {
	at := func(f func(*addressFacts)) addressFacts {
		x := addressFacts{
			configured: oldAddress, served: oldAddress, peer: oldAddress, listens: true, interfaces: []string{newAddress, "127.0.0.1"},
			operator: newAddress, seenTo: newAddress, seen: readdressAfter,
		}
		f(&x)
		return x
	}
	for _, c := range []struct {
		name   string
		facts  addressFacts
		kind   addressKind
		to     string
		reason string
	}{
		{"the operator names the one that is there", at(func(*addressFacts) {}), addressMove, newAddress, "is gone from"},
		{"the API server advertises the one that is there", at(func(f *addressFacts) { f.operator, f.apiServer = "", newAddress }), addressMove, newAddress, ""},
		{"both name it", at(func(f *addressFacts) { f.apiServer = newAddress }), addressMove, newAddress, ""},
		{"the API server still advertises the old one", at(func(f *addressFacts) { f.apiServer = oldAddress }), addressMove, newAddress, ""},
		{"a person has changed etcd's manifest", at(func(f *addressFacts) { f.operator, f.served = "", newAddress }), addressMove, newAddress, ""},
		{"node.json is done, the manifest is not", at(func(f *addressFacts) { f.configured, f.peer = newAddress, newAddress }), addressMove, newAddress, oldAddress},
		{"the same without a word of anybody", at(func(f *addressFacts) { f.configured, f.peer, f.operator = newAddress, newAddress, "" }), addressMove, newAddress, ""},
		{"no etcd in service", at(func(f *addressFacts) { f.served = "" }), addressMove, newAddress, ""},

		{"seen once", at(func(f *addressFacts) { f.seen = 1 }), addressWait, newAddress, "1 of 3"},
		{"another was seen before", at(func(f *addressFacts) { f.seenTo = thirdAddress }), addressWait, newAddress, "0 of 3"},
		{"nobody names one", at(func(f *addressFacts) { f.operator = "" }), addressWait, "", "nobody who knows"},
		{"the one that is named is not there", at(func(f *addressFacts) { f.operator = thirdAddress }), addressWait, "", "nobody who knows"},
		{"two are named and there", at(func(f *addressFacts) { f.apiServer, f.interfaces = thirdAddress, append(f.interfaces, thirdAddress) }), addressWait, "", "one of them is meant"},
		{"loopback is named", at(func(f *addressFacts) { f.operator = "127.0.0.1" }), addressWait, "", "nobody who knows"},
		{"the interfaces are not known", at(func(f *addressFacts) { f.interfaces = nil }), addressWait, "", "not known"},
		{"behind a translation of addresses", at(func(f *addressFacts) { f.listens = false }), addressWait, "", "does not listen"},
		{"half-way, and another is named now", at(func(f *addressFacts) {
			f.configured, f.operator, f.interfaces = newAddress, thirdAddress, append(f.interfaces, thirdAddress)
		}), addressWait, "", "until they agree"},
		{"the peers' network has changed", at(func(f *addressFacts) { f.configured, f.served = newAddress, newAddress }), addressWait, "", "etcd's peers are told"},

		{"nothing has changed", at(func(f *addressFacts) { f.interfaces = []string{oldAddress} }), addressKeep, "", ""},
		{"the old one is there beside the new", at(func(f *addressFacts) { f.interfaces = append(f.interfaces, oldAddress) }), addressKeep, "", ""},
		{"all done", at(func(f *addressFacts) { f.configured, f.served, f.peer = newAddress, newAddress, newAddress }), addressKeep, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decideAddress(c.facts)
			if d.kind != c.kind || d.to != c.to || !strings.Contains(d.reason, c.reason) || d.reason == "" {
				t.Errorf("%s %q: %s; want %s %q: %s", d.kind, d.to, d.reason, c.kind, c.to, c.reason)
			}
		})
	}
}

// TestAddressNeverWrong: whatever is seen, a node moves only to the one address that is proven, and only where its own is
// gone; and what was done, with a crash after any step, is followed by nothing more than its end (P20, I20, I23).
func TestAddressNeverWrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "127.0.0.1"}
		one := rapid.SampledFrom(all)
		maybe := rapid.SampledFrom(append([]string{""}, all...))
		f := addressFacts{
			configured: one.Draw(t, "configured"), served: maybe.Draw(t, "served"), listens: rapid.Bool().Draw(t, "listens"),
			interfaces: rapid.SliceOfDistinct(one, func(s string) string { return s }).Draw(t, "interfaces"),
			operator:   maybe.Draw(t, "operator"), apiServer: maybe.Draw(t, "apiServer"),
			seenTo: maybe.Draw(t, "seenTo"), seen: rapid.IntRange(0, 5).Draw(t, "seen"),
		}
		here := func(a string) bool { return slices.Contains(f.interfaces, a) }
		done, to := false, ""
		for range 40 {
			d := decideAddress(f)
			if d.kind != addressMove {
				if d.kind == addressWait && d.to != "" { // it looks again
					if f.seenTo != d.to {
						f.seenTo, f.seen = d.to, 0
					}
					f.seen++
					continue
				}
				return
			}
			if done || to != "" && to != d.to {
				t.Fatalf("it was to be at %q, and now at %q: %+v", to, d.to, f)
			}
			to = d.to
			if here(f.configured) && (f.served == "" || here(f.served)) {
				t.Fatalf("its address is still there: %+v", f)
			}
			if !here(d.to) || f.seenTo != d.to || f.seen < readdressAfter {
				t.Fatalf("%s is not proven: %+v", d.to, f)
			}
			for _, other := range []string{f.operator, f.apiServer, f.served} {
				if other != "" && other != d.to && here(other) && usable(other) {
					t.Fatalf("%s and %s are both proven: %+v", d.to, other, f)
				}
			}
			switch rapid.IntRange(0, 2).Draw(t, "dies after") {
			case 0: // the certificates
			case 1: // node.json
				f.configured = d.to
			case 2: // all
				f.configured, done = d.to, true
				if f.served != "" {
					f.served, f.listens = d.to, true
				}
			}
			if rapid.Bool().Draw(t, "agent restarts") {
				f.seenTo, f.seen = "", 0
			}
		}
	})
}

func TestMovedTo(t *testing.T) {
	c := node.Config{Address: oldAddress, PeerURL: "https://10.0.0.1:2380", ClientURL: "https://10.0.0.1:2379"}
	got, changed := movedTo(c, newAddress)
	if !changed || got.Address != newAddress || got.PeerURL != "https://10.0.0.2:2380" || got.ClientURL != "https://10.0.0.2:2379" {
		t.Errorf("%v %+v", changed, got)
	}
	if again, changed := movedTo(got, newAddress); changed {
		t.Errorf("again: %+v", again)
	}
	c.PeerURL = "https://192.168.7.3:2380" // another network's, which is still there
	if got, _ = movedTo(c, newAddress); got.PeerURL != c.PeerURL {
		t.Errorf("%+v", got)
	}
}

// TestInstead: the agent can be asked at what is there while its own address is gone, and at no more otherwise.
func TestInstead(t *testing.T) {
	if got := instead(oldAddress, []string{newAddress, "127.0.0.1", "fe80::1"}); !slices.Equal(got, []string{newAddress}) {
		t.Errorf("%v", got)
	}
	if got := instead(oldAddress, []string{newAddress, oldAddress}); got != nil {
		t.Errorf("%v", got)
	}
	if got := instead(oldAddress, nil); got != nil {
		t.Errorf("%v", got)
	}
}
