// Package sampler finds out where a server's accesses go: it reads the
// access statistics of every key, turns them into access rates and sums them
// per page of the server's memory.
//
// The statistics come from one of two sources: OBJECT FREQ or OBJECT IDLETIME
// over a connection (Freq), or the same bits read from the server's memory
// (Memory), which costs the server nothing. Where each key's memory lies is
// read from the server's memory in both.
package sampler
