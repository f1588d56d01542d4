package main

import (
	"fmt"
	"strconv"
	"strings"
)

// size in bytes.
type size int64

var units = []struct {
	name string
	n    size
}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}}

func parseSize(s string) (size, error) {
	for _, u := range units {
		if num, ok := strings.CutSuffix(strings.TrimSpace(s), u.name); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
			if err == nil && f > 0 && f*float64(u.n) < 1e13 {
				return size(f * float64(u.n)), nil
			}
		}
	}
	return 0, fmt.Errorf("%q is no size; write it like 100MB or 1.5GB", s)
}

func (s size) String() string {
	for _, u := range units {
		if s >= u.n {
			return strconv.FormatFloat(float64(s)/float64(u.n), 'g', 3, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + " B"
}
