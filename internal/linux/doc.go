// Package linux is the only place with raw system calls and unsafe: thin,
// allocation-free wrappers for the calls that golang.org/x/sys/unix does not
// wrap, and the few of its calls the other packages need.
//
// Wrappers validate lengths, convert types and return plain errors; they hold
// no policy. Other packages never import golang.org/x/sys/unix or unsafe.
package linux
