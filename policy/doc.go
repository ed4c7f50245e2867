// Package policy decides which pages should lie on which node. It is pure: a
// [Snapshot] in, a [Plan] out, with no I/O, no clock and no logger, so every
// decision can be replayed from its input.
//
// A plan accounts for every page of its snapshot: a page is either moved or
// counted under exactly one [Reason] for leaving it where it is.
package policy
