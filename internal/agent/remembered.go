package agent

import (
	"bytes"
	"sync"
)

// remembered is what was last made of some bytes. A node's manifests are looked at every few seconds, hardly ever change, and
// to read their YAML costs more than all else of such a look. What is made must depend on the bytes alone, and is shared: it
// is not changed.
type remembered[T any] struct {
	mu   sync.Mutex
	of   []byte
	have bool
	is   T
	err  error
}

func (r *remembered[T]) get(of []byte, from func([]byte) (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.have || !bytes.Equal(r.of, of) {
		r.is, r.err = from(of)
		r.of, r.have = bytes.Clone(of), true
	}
	return r.is, r.err
}

// manifests is what was made of the manifests that are looked at again and again.
type manifests struct {
	guarded   remembered[bool]
	served    remembered[servedAddress]
	apiServer remembered[string]
}
