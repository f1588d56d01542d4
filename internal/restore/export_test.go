package restore

import "golang.org/x/sys/unix"

// WithoutExchange makes the file system one that can not exchange two names, until undone.
func WithoutExchange() (undo func()) {
	was := swap
	swap = func(string, string) error { return unix.EINVAL }
	return func() { swap = was }
}
