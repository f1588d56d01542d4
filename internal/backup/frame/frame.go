// Package frame is the stored form of a backup's database: a sequence of frames of up to 4 MiB of plain bytes, each
// compressed on its own, then an index of them and a footer. So it can be written while bytes stream, read while they
// stream, and read in parallel by ranges. docs/backup-format.md describes it byte by byte.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// What can be wrong. Every failure to read wraps one of them, or is the reader's own below.
var (
	ErrTruncated = errors.New("the stored database is cut short")
	ErrCorrupt   = errors.New("the stored database is damaged")
	// ErrNewer: it is whole as far as can be told, and of a form that is not known here.
	ErrNewer = errors.New("the stored database is of a newer form; use a newer ceo")
)

// Size of a frame's plain bytes; the last one may be shorter.
const Size = 4 << 20

const (
	version = 1

	headerSize = 32
	footerSize = 40
	entrySize  = 16
	// maxStored bounds what a header may make a reader allocate: what does not shrink is stored as it is.
	maxStored = Size
	// maxFrames bounds the index: 4 TiB.
	maxFrames = 1 << 20

	codecRaw  = 0
	codecZstd = 1

	kindData  = 1
	kindIndex = 2
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	headerMagic = [4]byte{'C', 'E', 'O', 'F'}
	footerMagic = [4]byte{'C', 'E', 'O', 'E'}
)

// header of a frame.
type header struct {
	kind, codec byte
	plain       uint32 // length
	stored      uint32 // length
	offset      uint64 // of the first plain byte
	sum         uint32 // CRC-32C of the plain bytes, then of the stored ones
}

func (h header) encode(b []byte) {
	le := binary.LittleEndian
	copy(b, headerMagic[:])
	b[4], b[5], b[6], b[7] = version, h.codec, h.kind, 0
	le.PutUint32(b[8:], h.plain)
	le.PutUint32(b[12:], h.stored)
	le.PutUint64(b[16:], h.offset)
	le.PutUint32(b[24:], h.sum)
	le.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
}

func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if [4]byte(b[:4]) != headerMagic || le.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return header{}, fmt.Errorf("%w: no frame begins here", ErrCorrupt)
	}
	h := header{kind: b[6], codec: b[5], plain: le.Uint32(b[8:]), stored: le.Uint32(b[12:]), offset: le.Uint64(b[16:]), sum: le.Uint32(b[24:])}
	if b[4] != version {
		return h, fmt.Errorf("%w: frames of version %d, known is %d", ErrNewer, b[4], version)
	}
	switch h.kind {
	case kindData:
		if h.plain == 0 || h.plain > Size || h.stored == 0 || h.stored > maxStored || h.codec > codecZstd || h.codec == codecRaw && h.plain != h.stored {
			return h, fmt.Errorf("%w: a frame of %d bytes in %d", ErrCorrupt, h.plain, h.stored)
		}
	case kindIndex:
		if h.codec != codecRaw || h.plain != h.stored || h.plain%entrySize != 0 || h.plain > maxFrames*entrySize {
			return h, fmt.Errorf("%w: an index of %d bytes", ErrCorrupt, h.plain)
		}
	default:
		return h, fmt.Errorf("%w: a frame of kind %d", ErrCorrupt, h.kind)
	}
	return h, nil
}

// sumOf covers both forms: a compressed one has bits that decoders ignore.
func sumOf(plain, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(plain, castagnoli), castagnoli, stored)
}

// entry of the index.
type entry struct {
	at     uint64 // of the frame's header
	plain  uint32
	stored uint32 // without the header
}

func (e entry) encode(b []byte) {
	binary.LittleEndian.PutUint64(b, e.at)
	binary.LittleEndian.PutUint32(b[8:], e.plain)
	binary.LittleEndian.PutUint32(b[12:], e.stored)
}

func decodeEntry(b []byte) entry {
	le := binary.LittleEndian
	return entry{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func encodeIndex(es []entry) []byte {
	b := make([]byte, len(es)*entrySize)
	for i, e := range es {
		e.encode(b[i*entrySize:])
	}
	return b
}

// decodeIndex checks that the frames lie side by side and fill what the footer says.
func decodeIndex(b []byte, f footer) ([]entry, error) {
	es := make([]entry, len(b)/entrySize)
	var at, plain uint64
	for i := range es {
		e := decodeEntry(b[i*entrySize:])
		if e.at != at || e.plain == 0 || e.plain > Size || e.stored == 0 || e.stored > maxStored || e.plain != Size && i != len(es)-1 {
			return nil, fmt.Errorf("%w: the index's entry %d does not fit the one before it", ErrCorrupt, i)
		}
		es[i] = e
		at += headerSize + uint64(e.stored)
		plain += uint64(e.plain)
	}
	if len(es) != int(f.frames) || at != f.index || plain != f.plain {
		return nil, fmt.Errorf("%w: index and footer do not fit each other", ErrCorrupt)
	}
	return es, nil
}

// footer is the last bytes.
type footer struct {
	frames   uint32
	plain    uint64 // bytes in all
	index    uint64 // where its header is
	indexLen uint32 // without the header
}

func (f footer) encode() []byte {
	b := make([]byte, footerSize)
	le := binary.LittleEndian
	copy(b, footerMagic[:])
	b[4] = version
	le.PutUint32(b[8:], f.frames)
	le.PutUint32(b[12:], f.indexLen)
	le.PutUint64(b[16:], f.plain)
	le.PutUint64(b[24:], f.index)
	le.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
	return b
}

func decodeFooter(b []byte) (footer, error) {
	le := binary.LittleEndian
	if [4]byte(b[:4]) != footerMagic || le.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli) {
		return footer{}, fmt.Errorf("%w: it does not end with its footer", ErrTruncated)
	}
	f := footer{frames: le.Uint32(b[8:]), indexLen: le.Uint32(b[12:]), plain: le.Uint64(b[16:]), index: le.Uint64(b[24:])}
	if b[4] != version {
		return footer{}, fmt.Errorf("%w: a footer of version %d, known is %d", ErrNewer, b[4], version)
	}
	if f.frames > maxFrames || f.indexLen != f.frames*entrySize || f.plain > maxFrames*Size || f.index > maxFrames*(Size+headerSize) {
		return footer{}, fmt.Errorf("%w: a footer with %d frames", ErrCorrupt, f.frames)
	}
	return f, nil
}
