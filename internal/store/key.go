package store

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The longest key and segment that every store takes: S3 ends at 1024 bytes with the prefix in it, a file name at 255
// with what an unfinished file adds to it.
const (
	maxKey     = 768
	maxSegment = 200
)

// ValidKey says what is wrong with a key: it is one that every store takes and gives back as it was, and that cannot
// lead out of a folder. Slash-separated segments, none of them empty, "." or "..", of printable UTF-8 without "\".
func ValidKey(key string) error {
	switch {
	case key == "":
		return errors.New("the key is empty")
	case len(key) > maxKey:
		return fmt.Errorf("the key has %d bytes, the limit is %d", len(key), maxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("the key %q is not UTF-8", key)
	}
	// gocloud.dev escapes the first inside a name, by the second: the name in the store would not be the key.
	for _, sequence := range []string{"../", "__0x"} {
		if strings.Contains(key, sequence) {
			return fmt.Errorf("the key %q has the reserved sequence %s in it", key, sequence)
		}
	}
	for _, r := range key {
		if r < 0x20 || r == 0x7f || r == '\\' {
			return fmt.Errorf("the key %q has the character %q in it", key, r)
		}
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "":
			return fmt.Errorf("the key %q begins or ends with a slash or has two in a row", key)
		case segment == "." || segment == "..":
			return fmt.Errorf("the key %q has the segment %q in it", key, segment)
		case len(segment) > maxSegment:
			return fmt.Errorf("the key %q has a segment of %d bytes, the limit is %d", key, len(segment), maxSegment)
		case unfinished(segment):
			return fmt.Errorf("the key %q has the name of an unfinished file in it", key)
		}
	}
	return nil
}
