package frame_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"clusteretcd.io/ceo/internal/backup/frame"
)

// sample is n bytes of which half compress.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // a test's data
	b := make([]byte, n)
	for i := range b {
		if i/512%2 == 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func encode(t testing.TB, data []byte, l frame.Level, chunk int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := frame.NewWriter(&out, l, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for b := data; len(b) > 0; {
		n := min(chunk, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// both readers must say the same.
func readers(stored []byte) map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){
		"in order": func() ([]byte, error) {
			r, err := frame.NewReader(bytes.NewReader(stored))
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return io.ReadAll(r)
		},
		"in parallel": func() ([]byte, error) {
			p, err := frame.NewParallel(context.Background(), bytes.NewReader(stored), int64(len(stored)), 3)
			if err != nil {
				return nil, err
			}
			defer p.Close()
			return io.ReadAll(p)
		},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, l := range []frame.Level{frame.Off, frame.Fastest, frame.Default, frame.Better} {
		for _, n := range []int{0, 1, frame.Size - 1, frame.Size, 2*frame.Size + 77} {
			data := sample(n)
			stored := encode(t, data, l, 1<<20+13)
			for name, read := range readers(stored) {
				got, err := read()
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%s, %d bytes, %s: %d bytes, %v", l, n, name, len(got), err)
				}
			}
			if l != frame.Off && n > frame.Size && len(stored) > n*3/4 {
				t.Fatalf("%s: %d bytes became %d", l, n, len(stored))
			}
		}
	}
}

// P14, I17: cut anywhere near a border, or with any bit flipped, it is refused.
func TestDamage(t *testing.T) {
	// Hundreds of cases: what compresses well is read fast, and the last frame is one of those that do not.
	data := bytes.Repeat([]byte("the same again\n"), 2*frame.Size/15+1)[:2*frame.Size]
	data[0], data[frame.Size] = 1, 2
	data = append(data, sample(500)[:100]...)
	good := encode(t, data, frame.Fastest, 1<<20)
	refused := func(name string, stored []byte) {
		t.Helper()
		for how, read := range readers(stored) {
			got, err := read()
			if err == nil {
				t.Errorf("%s, %s: %d bytes were read", name, how, len(got))
			} else if !errors.Is(err, frame.ErrCorrupt) && !errors.Is(err, frame.ErrTruncated) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
	var borders []int
	for i := range good {
		if i+4 <= len(good) && string(good[i:i+4]) == "CEOF" {
			borders = append(borders, i)
		}
	}
	if len(borders) != 4 {
		t.Fatalf("borders at %v", borders)
	}
	for _, at := range append(borders, len(good)) {
		for _, d := range []int{-1, 0, 1, 31, 32, 33} {
			if n := at + d; n >= 0 && n < len(good) {
				refused(fmt.Sprintf("cut at %d", n), good[:n])
			}
		}
	}
	flip := func(at int) {
		b := bytes.Clone(good)
		b[at] ^= 1 << (at % 8)
		refused(fmt.Sprintf("flipped at %d", at), b)
	}
	for _, at := range borders[1:3] {
		for d := range 34 {
			flip(at + d)
		}
	}
	for at := borders[3]; at < len(good); at++ {
		flip(at)
	}
	for at := 0; at < len(good); at += max(1, len(good)/50) {
		flip(at)
	}
	b1, b2 := good[borders[0]:borders[1]], good[borders[1]:borders[2]]
	refused("a frame is missing", append(bytes.Clone(b1), good[borders[2]:]...))
	refused("two frames changed places", append(append(bytes.Clone(b2), b1...), good[borders[2]:]...))
	refused("a frame is there twice", append(append(bytes.Clone(b1), b1...), good[borders[1]:]...))
	refused("bytes follow", append(bytes.Clone(good), 0))
	refused("it is there twice", append(bytes.Clone(good), good...))
	refused("empty", nil)
	refused("something else", bytes.Repeat([]byte("hello "), 1000))
}

// A newer form is told apart from damage: what is whole must not be called lost.
func TestNewer(t *testing.T) {
	good := encode(t, []byte("hello"), frame.Off, 10)
	newer := func(at, sum int) []byte {
		b := bytes.Clone(good)
		b[at+4]++
		binary.LittleEndian.PutUint32(b[at+sum:], crc32.Checksum(b[at:at+sum], crc32.MakeTable(crc32.Castagnoli)))
		return b
	}
	for _, b := range [][]byte{newer(0, 28), newer(len(good)-40, 36)} {
		for how, read := range readers(b) {
			if _, err := read(); !errors.Is(err, frame.ErrNewer) || errors.Is(err, frame.ErrCorrupt) {
				t.Errorf("%s: %v", how, err)
			}
		}
	}
}

// A failure below ends the writer, and does not hang it.
func TestWriterFails(t *testing.T) {
	w, err := frame.NewWriter(failing{}, frame.Fastest, 2)
	if err != nil {
		t.Fatal(err)
	}
	data := sample(frame.Size)
	for range 50 {
		if _, err = w.Write(data); err != nil {
			break
		}
	}
	if !errors.Is(err, errFull) || !errors.Is(w.Close(), errFull) {
		t.Fatal(err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// A read that is cancelled never looks like a whole one.
func TestParallelCancelled(t *testing.T) {
	stored := encode(t, sample(6*frame.Size), frame.Off, 1<<20)
	ctx, cancel := context.WithCancel(context.Background())
	p, err := frame.NewParallel(ctx, bytes.NewReader(stored), int64(len(stored)), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.ReadFull(p, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if got, err := io.ReadAll(p); err == nil && len(got) != 6*frame.Size-10 {
		t.Fatalf("%d bytes looked like all", len(got))
	}
}

func FuzzFrames(f *testing.F) {
	small := encode(f, sample(3000), frame.Fastest, 1000)
	f.Add(small)
	f.Add(small[:len(small)-1])
	f.Add(encode(f, sample(100), frame.Off, 10))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var first []byte
		ok := 0
		for _, read := range readers(stored) {
			got, err := read()
			if err == nil {
				ok++
				if ok == 2 && !bytes.Equal(first, got) {
					t.Fatal("the readers disagree")
				}
				first = got
			}
		}
		if ok == 1 {
			t.Fatal("one reader takes what the other refuses")
		}
	})
}
