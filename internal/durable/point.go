//go:build !failpoints

package durable

// Point marks a moment at which a crash matters: before and after each step that a power loss can separate from the
// next. It does nothing; builds with the tag failpoints can die at any one of them, see point_failpoints.go.
func Point(string) {}

// Denied says that an operation is to be taken for one that the file system can not do; only in builds as above.
func Denied(string) bool { return false }
