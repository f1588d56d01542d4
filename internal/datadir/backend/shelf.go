package backend

import (
	"fmt"

	"github.com/klauspost/compress/zstd" //nolint:depguard // in memory alone: nothing is stored in this form
)

// shelf keeps pages whole that may list buckets or hold what etcd says of itself. Each commit leaves an old copy of
// such pages in free space, and which copy counts is known at the end only. They are nearly the same, so they are
// compressed many at a time.
type shelf struct {
	enc    *zstd.Encoder
	open   []byte
	blocks [][]byte
	places []place
	size   int64
}

type place struct{ block, off, n uint32 }

const shelfBlock = 256 << 10

func (s *shelf) put(b []byte) (uint32, error) {
	if len(s.open) > 0 && len(s.open)+len(b) > shelfBlock {
		if s.enc == nil {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithWindowSize(shelfBlock), zstd.WithLowerEncoderMem(true))
			if err != nil {
				return 0, err
			}
			s.enc = enc
		}
		packed := s.enc.EncodeAll(s.open, nil)
		s.blocks = append(s.blocks, append([]byte(nil), packed...))
		s.size += int64(len(packed))
		s.open = s.open[:0]
	}
	p := place{block: uint32(len(s.blocks)), off: uint32(len(s.open)), n: uint32(len(b))} //nolint:gosec // bounded by maxStreamNode
	s.open = append(s.open, b...)
	s.places = append(s.places, p)
	return uint32(len(s.places) - 1), nil //nolint:gosec // fewer than pages
}

// bytes held.
func (s *shelf) held() int64 { return s.size + int64(len(s.open)) + int64(len(s.places))*12 }

func (s *shelf) get(i uint32) ([]byte, error) {
	p := s.places[i]
	block := s.open
	if int(p.block) < len(s.blocks) {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer dec.Close()
		if block, err = dec.DecodeAll(s.blocks[p.block], nil); err != nil {
			return nil, fmt.Errorf("unpack pages kept in memory: %w", err)
		}
	}
	return append([]byte(nil), block[p.off:p.off+p.n]...), nil
}
