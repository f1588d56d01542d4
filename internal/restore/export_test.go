package restore

import "golang.org/x/sys/unix"

// WithoutExchange makes the file system one that can not exchange two names, until undone.
func WithoutExchange() (undo func()) {
	was := swap
	swap = func(string, string) error { return unix.EINVAL }
	return func() { swap = was }
}

// AtExchange is WithoutExchange, and calls f when it comes to it.
func AtExchange(f func()) (undo func()) {
	was := swap
	swap = func(string, string) error {
		f()
		return unix.EINVAL
	}
	return func() { swap = was }
}
