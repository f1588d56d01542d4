package dataset

import (
	"fmt"
	"math/rand/v2"
)

// kind of Kubernetes object: how many of all keys are of it, how often they change, how large they are.
type kind struct {
	prefix   string
	keys     int // of 100 keys
	churn    int // of 100 changes
	min, max int // bytes of a value
	random   int // of 100 bytes, those that no compression makes smaller: keys, tokens, hashes
	leased   bool
}

// The shares are of a cluster with many small applications. Node leases and nodes change the most, events come and go.
var kinds = []kind{
	{"/registry/pods", 30, 34, 2000, 8000, 20, false},
	{"/registry/events", 16, 20, 600, 1200, 25, true},
	{"/registry/configmaps", 13, 4, 500, 8000, 25, false},
	{"/registry/secrets", 12, 3, 800, 8000, 90, false},
	{"/registry/replicasets", 10, 8, 2500, 6000, 15, false},
	{"/registry/services/endpoints", 8, 8, 600, 4000, 20, false},
	{"/registry/serviceaccounts", 6, 1, 500, 700, 20, false},
	{"/registry/leases", 3, 12, 500, 600, 20, false},
	{"/registry/minions", 2, 10, 6000, 8000, 20, false},
}

// pick one by weight.
func pick(r *rand.Rand, weight func(kind) int) int {
	n := r.IntN(100)
	for i, k := range kinds {
		if n -= weight(k); n < 0 {
			return i
		}
	}
	return len(kinds) - 1
}

// name of the n-th key of all, which is of kind k.
func name(k, n int) string {
	mixed := uint64(n+1) * 0x9e37_79b9_7f4a_7c15 //nolint:gosec // a count
	return fmt.Sprintf("%s/team-%03d/app-%05x-%010x", kinds[k].prefix, mixed>>32%400, mixed>>40, mixed>>24&0xff_ffff_ffff)
}

var words = []string{
	"metadata", "namespace", "annotations", "ownerReferences", "controller", "blockOwnerDeletion", "managedFields",
	"f:status", "f:conditions", "k:{\"type\":\"Ready\"}", "f:lastTransitionTime", "kube-controller-manager", "kubelet",
	"Update", "fieldsV1", "volumeMounts", "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly", "kube-api-access",
	"terminationMessagePath", "/dev/termination-log", "imagePullPolicy", "IfNotPresent", "tolerations",
	"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "NoExecute", "priorityClassName", "resources",
	"requests", "limits", "cpu", "memory", "128Mi", "250m", "containerPort", "livenessProbe", "httpGet", "/healthz",
	"initialDelaySeconds", "periodSeconds", "ClusterFirst", "default-scheduler", "RollingUpdate", "revisionHistoryLimit",
	"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "Helm", "pod-template-hash",
	"securityContext", "runAsNonRoot", "capabilities", "drop", "ALL", "seccompProfile", "RuntimeDefault",
}

// phrases are pieces of text that objects share with each other.
func phrases(r *rand.Rand) [][]byte {
	all := make([][]byte, 4096)
	for i := range all {
		var p []byte
		for range 4 + r.IntN(8) {
			w := words[r.IntN(len(words))]
			p = append(p, 0x0a, byte(len(w)))
			p = append(p, w...)
		}
		all[i] = p
	}
	return all
}

// value makes an object: a protobuf message's framing, shared phrases, and what is the object's alone.
func (w *writer) value(k int, key string, rev int64) []byte {
	r, of := w.rand, kinds[k]
	size := of.min + r.IntN(of.max-of.min+1)
	b := make([]byte, 0, size)
	b = append(b, "k8s\x00\x0a\x0c\x0a\x02v1\x12"...)
	b = fmt.Appendf(b, "%s\x12%d\x1a%08x-%04x-4%03x", key, rev, r.Uint32(), r.Uint32()>>16, r.Uint32()>>20)
	for left := size - len(b); left > 0; left = size - len(b) {
		if r.IntN(100) < of.random {
			for range min(8, (left+7)/8) {
				n := r.Uint64()
				b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56)) //nolint:gosec // its bytes
			}
			continue
		}
		p := w.phrases[r.IntN(len(w.phrases))]
		b = append(b, p[:min(64, len(p), left)]...)
	}
	return b
}
