package backend

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
)

// tree is one B+tree: the root bucket's or a named bucket's. A small bucket lies inside its parent's value.
type tree struct {
	f      *File
	root   uint64
	inline []byte
}

func (f *File) rootTree() tree { return tree{f: f, root: f.meta.root} }

// bucketHeader is the length of a bucket's header: the number of its root page, 0 for one that lies behind the header,
// and a sequence number.
const bucketHeader = 16

func (f *File) bucketTree(value []byte) (tree, error) {
	if len(value) < bucketHeader {
		return tree{}, fmt.Errorf("%w: a bucket's header has %d bytes", ErrCorrupt, len(value))
	}
	root := binary.LittleEndian.Uint64(value)
	if root == 0 {
		return tree{f: f, inline: bytes.Clone(value[bucketHeader:])}, nil
	}
	return tree{f: f, root: root}, nil
}

// bucket finds a top-level bucket; ok is false when there is none.
func (f *File) bucket(name string) (t tree, ok bool, err error) {
	value, isBucket, ok, err := f.rootTree().get([]byte(name))
	if err != nil || !ok {
		return tree{}, false, err
	}
	if !isBucket {
		return tree{}, false, fmt.Errorf("%w: %q is not a bucket", ErrCorrupt, name)
	}
	t, err = f.bucketTree(value)
	return t, err == nil, err
}

func (t tree) node(id uint64, buf []byte) (node, error) {
	if t.inline == nil {
		return t.f.readNode(id, buf)
	}
	n, err := parseNode(t.inline)
	if err == nil && !n.isLeaf() {
		err = fmt.Errorf("%w: an inline bucket is not a leaf", ErrCorrupt)
	}
	return n, err
}

// descend goes from the root to a leaf by the child that pick chooses on each branch page.
func (t tree) descend(pick func(n node) (int, error)) (node, error) {
	id := t.root
	for range maxDepth {
		n, err := t.node(id, nil)
		if err != nil {
			return node{}, err
		}
		if n.isLeaf() {
			return n, nil
		}
		if !n.isBranch() || n.count == 0 {
			return node{}, fmt.Errorf("%w: page %d is neither branch nor leaf (flags %#x, %d elements)",
				ErrCorrupt, id, n.flags, n.count)
		}
		i, err := pick(n)
		if err != nil {
			return node{}, err
		}
		if _, id, err = n.branch(i); err != nil {
			return node{}, err
		}
	}
	return node{}, fmt.Errorf("%w: a tree is deeper than %d pages", ErrCorrupt, maxDepth)
}

func (t tree) get(key []byte) (value []byte, isBucket, ok bool, err error) {
	var bad error
	leaf, err := t.descend(func(n node) (int, error) {
		// The last child whose first key is not above key.
		i := sort.Search(n.count, func(i int) bool {
			k, _, err := n.branch(i)
			if err != nil {
				bad = err
				return true
			}
			return bytes.Compare(k, key) > 0
		})
		return max(i-1, 0), bad
	})
	if err != nil {
		return nil, false, false, err
	}
	for i := range leaf.count {
		k, v, b, err := leaf.leaf(i)
		if err != nil {
			return nil, false, false, err
		}
		if bytes.Equal(k, key) {
			return v, b, true, nil
		}
	}
	return nil, false, false, nil
}

// last returns the greatest key; ok is false when the tree is empty.
func (t tree) last() (key, value []byte, ok bool, err error) {
	leaf, err := t.descend(func(n node) (int, error) { return n.count - 1, nil })
	if err != nil || leaf.count == 0 {
		return nil, nil, false, err
	}
	key, value, _, err = leaf.leaf(leaf.count - 1)
	return key, value, err == nil, err
}

// each calls visit for all keys of a tree that is known to be small (members, meta): at most maxSmall pages.
func (t tree) each(visit func(key, value []byte) error) error {
	const maxSmall = 10_000
	left := maxSmall
	return t.eachFrom(t.root, 0, &left, visit)
}

func (t tree) eachFrom(id uint64, depth int, left *int, visit func(key, value []byte) error) error {
	if *left--; *left < 0 || depth > maxDepth {
		return fmt.Errorf("%w: a small bucket has no end", ErrCorrupt)
	}
	n, err := t.node(id, nil)
	if err != nil {
		return err
	}
	for i := range n.count {
		switch {
		case n.isBranch():
			_, child, err := n.branch(i)
			if err == nil {
				err = t.eachFrom(child, depth+1, left, visit)
			}
			if err != nil {
				return err
			}
		case n.isLeaf():
			k, v, _, err := n.leaf(i)
			if err == nil {
				err = visit(k, v)
			}
			if err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: page %d has flags %#x", ErrCorrupt, id, n.flags)
		}
	}
	return nil
}
