package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
)

// big is a snapshot made page by page while it is written: valid, of any size, in no memory. stale is how many old pages
// lie beside each four live leaves, as in a database that has run for long: leaves, branches and lists of buckets.
type big struct {
	leaves, perLeaf, value, stale int
}

const bigPage = 4096

type bigElem struct {
	flags    uint32
	key, val []byte
	child    uint64
}

func bigNode(id uint64, flags uint16, elems []bigElem) []byte {
	b := make([]byte, bigPage)
	le := binary.LittleEndian
	le.PutUint64(b, id)
	le.PutUint16(b[8:], flags)
	le.PutUint16(b[10:], uint16(len(elems)))
	end := 16 + 16*len(elems)
	for i, e := range elems {
		at := 16 + 16*i
		if flags == 1 {
			le.PutUint32(b[at:], uint32(end-at))
			le.PutUint32(b[at+4:], uint32(len(e.key)))
			le.PutUint64(b[at+8:], e.child)
		} else {
			le.PutUint32(b[at:], e.flags)
			le.PutUint32(b[at+4:], uint32(end-at))
			le.PutUint32(b[at+8:], uint32(len(e.key)))
			le.PutUint32(b[at+12:], uint32(len(e.val)))
		}
		if end+len(e.key)+len(e.val) > bigPage {
			panic("page too small")
		}
		end += copy(b[end:], e.key)
		end += copy(b[end:], e.val)
	}
	return b
}

func inline(elems []bigElem) []byte {
	b := bigNode(0, 2, elems)
	end := 16 + 16*len(elems)
	for _, e := range elems {
		end += len(e.key) + len(e.val)
	}
	return append(make([]byte, 16), b[:end]...)
}

func (g big) rootPage(id, keyRoot, index uint64) []byte {
	header := binary.LittleEndian.AppendUint64(nil, keyRoot)
	return bigNode(id, 2, []bigElem{
		{flags: 1, key: []byte("alarm"), val: inline(nil)},
		{flags: 1, key: []byte("cluster"), val: inline([]bigElem{{key: []byte("clusterVersion"), val: []byte("3.7.0")}})},
		{flags: 1, key: []byte("key"), val: append(header, make([]byte, 8)...)},
		{flags: 1, key: []byte("lease"), val: inline(nil)},
		{flags: 1, key: []byte("members"), val: inline([]bigElem{{key: []byte("8e9e05c52164694d"), val: []byte(`{"name":"m1"}`)}})},
		{flags: 1, key: []byte("meta"), val: inline([]bigElem{
			{key: []byte("consistent_index"), val: binary.BigEndian.AppendUint64(nil, index)},
			{key: []byte("term"), val: binary.BigEndian.AppendUint64(nil, 2)},
		})},
	})
}

const bigFan = 110

// pages calls emit for each page but the two headers, in order, and returns the root and the number of pages.
func (g big) pages(emit func(b []byte)) (root, pages uint64) {
	id := uint64(2)
	out := func(b []byte) {
		if emit != nil {
			emit(b)
		}
		id++
	}
	value := bytes.Repeat([]byte("v"), g.value)
	rev := int64(2)
	leaf := func(id uint64) []byte {
		if emit == nil {
			return nil
		}
		elems := make([]bigElem, g.perLeaf)
		for i := range elems {
			kv := &mvccpb.KeyValue{
				Key: []byte("/registry/pods/" + strconv.FormatInt((rev+int64(i))%1_500_000, 10)), Value: value,
				ModRevision: rev + int64(i), CreateRevision: rev + int64(i), Version: 1,
			}
			b, err := proto.Marshal(kv)
			if err != nil {
				panic(err)
			}
			elems[i] = bigElem{key: etcdtest.Revision(rev+int64(i), 0, false), val: b}
		}
		return bigNode(id, 2, elems)
	}
	branch := func(id uint64, nodes []bigElem) []byte {
		if emit == nil {
			return nil
		}
		return bigNode(id, 1, nodes)
	}
	var level []bigElem
	for i := range g.leaves {
		level = append(level, bigElem{key: etcdtest.Revision(rev, 0, false), child: id})
		out(leaf(id))
		if i%4 == 0 {
			for j := range g.stale {
				switch {
				case emit == nil:
					out(nil)
				case j%4 == 0:
					out(g.rootPage(id, uint64(i+2), uint64(rev)))
				case j%4 == 1:
					out(branch(id, level[max(0, len(level)-bigFan):]))
				default:
					out(leaf(id))
				}
			}
		}
		rev += int64(g.perLeaf)
	}
	for len(level) > 1 {
		var up []bigElem
		for len(level) > 0 {
			n := min(len(level), bigFan)
			up = append(up, bigElem{key: level[0].key, child: id})
			out(branch(id, level[:n]))
			level = level[n:]
		}
		level = up
	}
	root = id
	out(g.rootPage(id, level[0].child, uint64(rev)))
	return root, id
}

func (g big) write(w io.Writer) error {
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	root, pages := g.pages(nil)
	var err error
	put := func(b []byte) {
		if err == nil {
			_, err = both.Write(b)
		}
	}
	for i := range 2 {
		b := make([]byte, bigPage)
		le := binary.LittleEndian
		le.PutUint64(b, uint64(i))
		le.PutUint16(b[8:], 4)
		m := b[16:]
		le.PutUint32(m, 0xED0CDAED)
		le.PutUint32(m[4:], 2)
		le.PutUint32(m[8:], bigPage)
		le.PutUint64(m[16:], root)
		le.PutUint64(m[32:], ^uint64(0))
		le.PutUint64(m[40:], pages)
		le.PutUint64(m[48:], uint64(9-i))
		h := fnv.New64a()
		_, _ = h.Write(m[:56])
		le.PutUint64(m[56:], h.Sum64())
		put(b)
	}
	g.pages(put)
	if err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func TestBigStreamIsValid(t *testing.T) {
	var b bytes.Buffer
	g := big{leaves: 3000, perLeaf: 2, value: 1500, stale: 4}
	if err := g.write(&b); err != nil {
		t.Fatal(err)
	}
	info, err := snapshot.Verify(t.Context(), write(t, b.Bytes()), snapshot.VerifyOptions{})
	if err != nil || info.TotalKeys != 6000 || info.LiveKeys != 6000 || info.Revision != 6001 || len(info.Members) != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	// However it is cut: blocks that are lent and those that are put together.
	for _, pieces := range [][]int{{1 << 20}, {3<<20 + 5}, {4096, 1 << 20, 2 << 20, 1<<20 - 4096}, {999_999}, {b.Len()}} {
		c := snapshot.NewChecker(snapshot.CheckOptions{})
		for rest, i := b.Bytes(), 0; len(rest) > 0; i++ {
			n := min(pieces[i%len(pieces)], len(rest))
			lent := bytes.Clone(rest[:n])
			if _, err := c.Write(lent); err != nil {
				t.Fatal(err)
			}
			clear(lent) // it is the caller's again
			rest = rest[n:]
		}
		again, err := c.Finish()
		if again.Path = info.Path; err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", info) {
			t.Errorf("in pieces of %v: %+v, %v", pieces, again, err)
		}
		c.Close()
	}
	if old, err := oldWalk(b.Bytes()); err != nil || old.TotalKeys != 6000 {
		t.Fatalf("%+v, %v", old, err)
	}
}

// TestCheckerMemory passes 4 GB through a Checker and watches the heap, for a fresh database and for one of which half
// is old pages. CEO_BIG=1 runs it; without, a twenty-fifth of it, with a limit for that.
func TestCheckerMemory(t *testing.T) {
	leaves, limit := 40_000, int64(16<<20)
	if os.Getenv("CEO_BIG") != "" {
		leaves, limit = 1_000_000, 120<<20
	}
	for _, g := range []big{
		{leaves: leaves, perLeaf: 2, value: 1900},
		{leaves: leaves / 2, perLeaf: 4, value: 900, stale: 4},
	} {
		t.Run(fmt.Sprintf("%+v", g), func(t *testing.T) {
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			c := snapshot.NewChecker(snapshot.CheckOptions{})
			defer c.Close()
			peak := newPeak()
			live := int64(0)
			every := &countWriter{w: c, step: 256 << 20, at: func() {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				live = max(live, int64(m.HeapAlloc)-int64(before.HeapAlloc))
			}}
			if err := g.write(every); err != nil {
				t.Fatal(err)
			}
			every.at()
			atEnd := live
			start := time.Now()
			info, err := c.Finish()
			took := time.Since(start)
			if err != nil || info.TotalKeys != int64(g.leaves*g.perLeaf) || info.Size != every.n {
				t.Fatalf("%+v, %v", info, err)
			}
			max := peak.stop() - int64(before.HeapAlloc)
			t.Logf("%d MiB: live heap of the checker %d MiB, peak with garbage (also the generator's) %d MiB, Finish %s, %d live keys",
				info.Size>>20, atEnd>>20, max>>20, took, info.LiveKeys)
			if atEnd > limit {
				t.Fatalf("heap %d bytes, limit %d", atEnd, limit)
			}
		})
	}
}

type countWriter struct {
	w       io.Writer
	n, step int64
	at      func()
}

func (c *countWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if (c.n+int64(n))/c.step != c.n/c.step {
		c.at()
	}
	c.n += int64(n)
	return n, err
}

type peak struct {
	max  atomic.Int64
	quit chan struct{}
	done chan struct{}
}

func newPeak() *peak {
	p := &peak{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			select {
			case <-p.quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			p.max.Store(max(p.max.Load(), int64(m.HeapAlloc)))
		}
	}()
	return p
}

func (p *peak) stop() int64 {
	close(p.quit)
	<-p.done
	return p.max.Load()
}

func BenchmarkChecker(b *testing.B) {
	for _, g := range []big{
		{leaves: 128_000, perLeaf: 2, value: 1900},
		{leaves: 64_000, perLeaf: 25, value: 60},
		{leaves: 64_000, perLeaf: 4, value: 900, stale: 4},
	} {
		var buf bytes.Buffer
		if err := g.write(&buf); err != nil {
			b.Fatal(err)
		}
		data := buf.Bytes()
		run := func(name string, f func() error) {
			b.Run(fmt.Sprintf("%+v/%s", g, name), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("check", func() error {
			c := snapshot.NewChecker(snapshot.CheckOptions{})
			defer c.Close()
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1<<20)
				if _, err := c.Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			_, err := c.Finish()
			return err
		})
		run("only the hash", func() error {
			if sha256.Sum256(data) == [32]byte{} {
				return errors.New("never")
			}
			return nil
		})
	}
}
