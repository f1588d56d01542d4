package durable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// WriteJSON writes v, indented for a person who reads it in an outage, as WriteFile does.
func WriteJSON(path string, v any, perm fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, append(data, '\n'), perm)
}

// ReadJSON reads one JSON value and refuses anything after it: a file that was overwritten in place and cut short
// elsewhere would otherwise pass. Unknown fields are accepted, so that an older binary reads a newer file.
// A missing file is fs.ErrNotExist.
func ReadJSON[T any](path string) (T, error) {
	var v T
	data, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return v, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return v, fmt.Errorf("read %s: not valid JSON: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("read %s: something follows the JSON value at byte %d", path, d.InputOffset())
	}
	return v, nil
}
