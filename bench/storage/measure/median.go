package measure

import (
	"math"
	"slices"
)

// Median of the values; NaN of none.
func Median(xs []float64) float64 {
	ys := slices.Sorted(slices.Values(xs))
	n := len(ys)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 0:
		return (ys[n/2-1] + ys[n/2]) / 2
	}
	return ys[n/2]
}
