package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Where nobody looks there is a line for each phase and nothing that moves.
func TestPhasesInALog(t *testing.T) {
	var err bytes.Buffer
	p := Streams{Err: &err}.phases()
	for i := range int64(100) {
		p("storing", i, 100)
	}
	p("reading back", 1, 100)
	p("reading back", 100, 100)
	if err.String() != "storing\nreading back\n" {
		t.Errorf("%q", err.String())
	}
}

// On a terminal one line moves, and ends with the phase.
func TestPhasesOnATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	defer func() { _ = master.Close() }()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	p := Streams{Err: slave}.phases()
	p("storing", 50_000_000, 100_000_000)
	p("storing", 100_000_000, 100_000_000)
	p("reading back", 100_000_000, 100_000_000)
	var got strings.Builder
	for b := make([]byte, 1000); !strings.Contains(got.String(), "reading back: 100 MB of 100 MB"); {
		n, err := master.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		got.Write(b[:n])
	}
	if want := "\r\x1b[Kstoring: 50 MB of 100 MB\r\x1b[Kstoring: 100 MB of 100 MB\r\n\r\x1b[Kreading back"; !strings.Contains(got.String(), want) {
		t.Errorf("%q", got.String())
	}
	_ = slave.Close()
}
