//go:build !failpoints

package engine

// failpoint does nothing: only builds with the tag failpoints die on demand.
func failpoint(string) {}
