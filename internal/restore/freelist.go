package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The two places of bbolt's format that are written here: a page's header and the meta page. bbolt's own numbers.
const (
	pageHeader = 16 // id (8), flags (2), count (2), overflow (4)
	metaLength = 64 // magic (4), version (4), page size (4), flags (4), root (16), freelist (8), pages (8), txid (8), sum (8)

	metaMagic    = 0xED0CDAED
	metaVersion  = 2
	flagFreelist = 0x10
	noFreelist   = ^uint64(0)

	atPageSize, atFreelist, atPages, atTxid, atSum = 8, 32, 40, 48, 56
)

// skipFreelist spares bbolt the walk through all pages that it does when it opens an etcd database for writing. The
// walk finds the free pages, which etcd does not store; on a large file it takes longer than all else after the last
// byte, and tens of bytes of memory a page. But a transaction of a few pages needs no free ones: it may take new ones
// at the end.
//
// So the file is given a freelist that is empty, in one page more, as a transaction of bbolt would have written it. The
// transaction that follows gives it up again, and the file is as etcd writes it: etcd finds the free pages when it
// starts, this one among them.
func skipFreelist(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // in the staging directory
	if err != nil {
		return err
	}
	err = addEmptyFreelist(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("prepare %s: %w", path, err)
	}
	return nil
}

func addEmptyFreelist(f *os.File) error {
	m, err := newestMeta(f)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint64(m[atFreelist:]) != noFreelist {
		return nil // another tool of bbolt wrote one
	}
	size := int64(le.Uint32(m[atPageSize:]))
	pages, txid := le.Uint64(m[atPages:]), le.Uint64(m[atTxid:])

	page := make([]byte, size)
	le.PutUint64(page, pages)
	le.PutUint16(page[8:], flagFreelist)
	if _, err := f.WriteAt(page, int64(pages)*size); err != nil { //nolint:gosec // newestMeta has checked it
		return err
	}
	le.PutUint64(m[atFreelist:], pages)
	le.PutUint64(m[atPages:], pages+1)
	le.PutUint64(m[atTxid:], txid+1)
	le.PutUint64(m[atSum:], metaSum(m))
	slot := int64((txid + 1) % 2) //nolint:gosec // 0 or 1
	var header [pageHeader]byte
	le.PutUint64(header[:], uint64(slot)) //nolint:gosec // as above
	const flagMeta = 0x04
	le.PutUint16(header[8:], flagMeta)
	_, err = f.WriteAt(append(header[:], m...), slot*size)
	return err
}

func metaSum(m []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(m[:atSum])
	return h.Sum64()
}

// newestMeta gives the content of the valid meta page with the higher transaction number, as bbolt chooses. The page
// size is in it and need not be this machine's.
func newestMeta(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var best []byte
	le := binary.LittleEndian
	try := func(off int64) error {
		b := make([]byte, pageHeader+metaLength)
		if _, err := f.ReadAt(b, off); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		m := b[pageHeader:]
		size := int64(le.Uint32(m[atPageSize:]))
		pages := le.Uint64(m[atPages:])
		ok := le.Uint32(m) == metaMagic && le.Uint32(m[4:]) == metaVersion && le.Uint64(m[atSum:]) == metaSum(m) &&
			size >= 512 && size <= 1<<20 && size&(size-1) == 0 && (off == 0 || off == size) &&
			pages >= 4 && pages <= uint64(st.Size()/size) //nolint:gosec // a file's size is not negative
		if ok && (best == nil || le.Uint64(m[atTxid:]) > le.Uint64(best[atTxid:])) {
			best = m
		}
		return nil
	}
	if err := try(0); err != nil {
		return nil, err
	}
	// The second one is one page in, and where the first is damaged that may be any size.
	least, most := int64(512), int64(1<<20)
	if best != nil {
		least = int64(le.Uint32(best[atPageSize:]))
		most = least
	}
	for size := least; size <= most; size *= 2 {
		if err := try(size); err != nil {
			return nil, err
		}
	}
	if best == nil {
		return nil, errors.New("it has no valid meta page")
	}
	return best, nil
}
