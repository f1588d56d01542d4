//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/test/harness"
)

// I9: while each member of a real cluster is killed and started again, what the recorder's clients were told is
// linearizable; and the check of that very record fails once an acknowledged write is lost in it.
func TestRecordOfMembersThatAreKilled(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	certs, out := t.TempDir(), filepath.Join(t.TempDir(), "ops.jsonl")
	for from, to := range map[string]string{etcd.PKI.CA: "ca.crt", etcd.PKI.ClientCert: "client.crt", etcd.PKI.ClientKey: "client.key"} {
		if err := os.Symlink(from, filepath.Join(certs, to)); err != nil {
			t.Fatal(err)
		}
	}
	r := &recorder{endpoints: etcd.Endpoints(), prefix: "/t/", clients: 6, keys: 2, every: 5 * time.Millisecond, timeout: 2 * time.Second}
	ctx, stop := context.WithCancel(etcdtest.Context(t))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.record(ctx, certs, out) }()
	more := func() {
		t.Helper()
		from := len(answered(read(t, out)))
		etcdtest.Eventually(t, "200 more operations", func() (bool, string) {
			n := len(answered(read(t, out))) - from
			return n >= 200, fmt.Sprint(n)
		})
	}
	for _, m := range etcd.Members {
		more()
		m.Kill(t)
		more() // by the other two
		m.Start(t)
		m.WaitHealthy(t)
	}
	more()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ops := read(t, out)
	if ops[len(ops)-1].Kind != harness.End {
		t.Errorf("the record ends with %+v", ops[len(ops)-1])
	}
	v := harness.Check(ops, etcdtest.WaitFor)
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations, %d of unknown outcome", v.Ops, v.Unknown)
	if v.Unknown == 0 {
		t.Error("members were killed, and no client noticed")
	}
	through := map[string]map[harness.OpKind]int{}
	for _, o := range answered(ops) {
		if through[o.Member] == nil {
			through[o.Member] = map[harness.OpKind]int{}
		}
		through[o.Member][o.Kind]++
	}
	for _, e := range etcd.Endpoints() {
		for _, k := range []harness.OpKind{harness.Get, harness.Put, harness.CAS} {
			if through[e][k] == 0 {
				t.Errorf("no %s through %s", k, e)
			}
		}
	}

	// The last reads of one key find what was there when half of it was over.
	key, old := "/t/key-0", ""
	for _, o := range ops[:len(ops)/2] {
		if o.Key == key && o.Kind == harness.Put && o.Outcome == harness.Done {
			old = o.Value
		}
	}
	for i := range ops {
		if o := &ops[i]; o.Key == key && o.Client >= r.clients {
			o.Found = old
		}
	}
	if v := harness.Check(ops, etcdtest.WaitFor); v.Result != porcupine.Illegal || v.Key != key {
		t.Errorf("lost writes were not found: %s, %s", v.Result, v.Key)
	}
}

func read(t *testing.T, path string) []harness.Op {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []harness.Op
	for line := range strings.Lines(string(raw)) {
		var o harness.Op
		if strings.HasSuffix(line, "\n") {
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			out = append(out, o)
		}
	}
	return out
}

func answered(ops []harness.Op) (out []harness.Op) {
	for _, o := range ops {
		if o.Outcome == harness.Done || o.Outcome == harness.Refused {
			out = append(out, o)
		}
	}
	return out
}
