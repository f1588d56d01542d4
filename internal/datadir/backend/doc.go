// Package backend reads etcd's backend file (a bbolt file) with plain bounded reads: no lock, no memory map, no write.
//
// bbolt itself is not used for this on purpose. It takes a file lock that a running etcd holds, and it maps the file:
// on a corrupt page it follows a page number out of the map, and the fault kills the process, in its checker's own
// goroutine beyond any recover. What is read here comes from a broken disk or from a person's hands and must at worst
// give an error.
//
// The format (page header, meta, branch, leaf, freelist) is bbolt's version 2, read in bbolt 1.5.0. All numbers are in
// the byte order of the machine that wrote the file; like etcd's own supported machines this reads little-endian.
package backend
