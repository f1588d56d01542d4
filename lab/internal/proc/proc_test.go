package proc

import "testing"

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, row := range []struct {
		name, in string
		start    uint64
		ok       bool
	}{
		{"plain", "12 (etcd)" + tail, 4711, true},
		{"name with spaces and brackets", "12 (a) (b c)" + tail, 4711, true},
		{"no name", "12 etcd", 0, false},
		{"cut short", "12 (etcd) S 1 2", 0, false},
		{"start is no number", "12 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20", 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			start, _, err := parseStat([]byte(row.in))
			if (err == nil) != row.ok || start != row.start {
				t.Errorf("parseStat = %d, %v; want %d, ok %v", start, err, row.start, row.ok)
			}
		})
	}
}
