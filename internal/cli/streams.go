package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/cli/ui"
)

// Streams are what a verb reads and writes: data goes to Out, progress and
// messages to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Name is how a person called the program, for commands to type.
	Name string
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS) //nolint:gosec // a descriptor fits an int
	return err == nil
}

// style of what goes to a stream: colour only where a person looks (and not
// where they said no, https://no-color.org).
func style(stream any) ui.Style {
	return ui.Style{Colour: isTerminal(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Format of a reading verb.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// ParseFormat reads -o.
func ParseFormat(s string) (Format, error) {
	switch Format(s) {
	case Text, JSON:
		return Format(s), nil
	}
	return "", fmt.Errorf("-o %s: the formats are text and json", s)
}

// show writes one value in the format that was asked for.
func (s Streams) show(f Format, v any, text func() string) error {
	if f == JSON {
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	if _, err := io.WriteString(s.Out, text()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// say writes a message for a person.
func (s Streams) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.Err, format+"\n", args...)
}
