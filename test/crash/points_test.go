package crash

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// point is a moment that a failpoints build can die at, see durable.Point.
type point struct {
	number int
	name   string
}

func (p point) String() string { return fmt.Sprintf("point %d (%s)", p.number, p.name) }

// readPoints reads the log that CEO_POINTS_LOG names: "NUMBER NAME" a line.
func readPoints(path string) ([]point, error) {
	f, err := os.Open(path) //nolint:gosec // in the test's directory
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var points []point
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		number, name, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s: %q", path, lines.Text())
		}
		points = append(points, point{n, name})
	}
	return points, lines.Err()
}

// choose takes at most limit points, evenly spread, the first and the last among them; but every one that matters by
// itself is taken, however many those are: around each flush, rename, exchange and creation, and the first byte.
func choose(points []point, limit int) []point {
	var must, may []point
	firstWrite := true
	for i, p := range points {
		word, _, _ := strings.Cut(strings.TrimPrefix(p.name, "restore: "), " ")
		switch {
		case i == 0 || i == len(points)-1:
			must = append(must, p)
		case strings.HasPrefix(word, "flush") || strings.HasPrefix(word, "rename") || strings.HasPrefix(word, "exchange") ||
			strings.HasPrefix(word, "create") || strings.HasPrefix(word, "make") || strings.HasPrefix(word, "made"):
			must = append(must, p)
		case strings.HasPrefix(word, "write") && firstWrite:
			must, firstWrite = append(must, p), false
		default:
			may = append(may, p)
		}
	}
	chosen := append(must, spread(may, limit-len(must))...)
	slices.SortFunc(chosen, func(a, b point) int { return a.number - b.number })
	return chosen
}

// spread takes n of the points at equal distances.
func spread(points []point, n int) []point {
	n = max(0, min(n, len(points)))
	out := make([]point, 0, n)
	for i := range n {
		out = append(out, points[i*len(points)/n])
	}
	return out
}

func TestChoose(t *testing.T) {
	var all []point
	for i := range 200 {
		name := "restore: write db at " + strconv.Itoa(i)
		switch i {
		case 50:
			name = "flush db"
		case 51:
			name = "flushed db"
		case 77:
			name = "restore: exchange x"
		case 199:
			name = "restore: done"
		}
		all = append(all, point{i + 1, name})
	}
	got := choose(all, 20)
	if len(got) != 20 || !slices.IsSortedFunc(got, func(a, b point) int { return a.number - b.number }) {
		t.Fatalf("%d: %v", len(got), got)
	}
	for _, i := range []int{0, 1, 50, 51, 77, 199} { // 1: the first write that is not the first point
		if !slices.Contains(got, all[i]) {
			t.Errorf("%s is missing", all[i])
		}
	}
	if got := choose(all, 1000); len(got) != len(all) {
		t.Errorf("%d of %d", len(got), len(all))
	}
	if got := choose(all, 2); len(got) != 6 {
		t.Errorf("what must be there is cut: %v", got)
	}
	if got := choose(nil, 5); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
