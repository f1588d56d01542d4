package backend

import "hash/maphash"

// maxMarks bounds the memory for counting live keys: 64 MiB.
const maxMarks = 8 << 20

// marks are one number an entry: a hash of the key's name and, in the lowest bit, whether it is a deletion; 0 for an
// entry of no key. Two of a million names share a hash with a chance of one in 10^7, which makes a count wrong by one
// and nothing else.
type marks struct {
	seed   maphash.Seed
	blocks []*[markBlock]uint64
	n      int
	full   bool
}

const markBlock = 1 << 15

func (m *marks) add(name []byte, tombstone bool) {
	if m.full {
		return
	}
	if m.n == maxMarks {
		m.full, m.blocks = true, nil
		return
	}
	var v uint64
	if len(name) > 0 {
		v = maphash.Bytes(m.seed, name)&^1 | 2
		if tombstone {
			v |= 1
		}
	}
	if m.n/markBlock == len(m.blocks) {
		m.blocks = append(m.blocks, new([markBlock]uint64))
	}
	m.blocks[m.n/markBlock][m.n%markBlock] = v
	m.n++
}

// cut takes back all from the n-th on.
func (m *marks) cut(n uint32) {
	if !m.full {
		m.n = int(n)
	}
}

// live counts the names whose last mark is no deletion; pages are the leaves of the key bucket in order. It goes over
// them several times with a share of the names each, to hold few at once.
func (m *marks) live(pages []*record) int64 {
	if m.full {
		return -1
	}
	var entries uint64
	for _, p := range pages {
		entries += uint64(p.count)
	}
	shares := entries/(256<<10) + 1
	alive := make(map[uint64]struct{}, min(entries, 64<<10))
	var n int64
	for share := range shares {
		clear(alive)
		for _, p := range pages {
			for i := int(p.extra); i < int(p.extra)+int(p.count); i++ {
				v := m.blocks[i/markBlock][i%markBlock]
				switch name := v &^ 1; {
				case v == 0 || (v>>32)%shares != share:
				case v&1 != 0:
					delete(alive, name)
				default:
					alive[name] = struct{}{}
				}
			}
		}
		n += int64(len(alive))
	}
	return n
}
