// Package debroot gets real programs out of Debian's packages without root
// and without installing anything: Ensure downloads packages and what they
// need with apt's own client, under a configuration of its own, and unpacks
// them into a cache folder; Command runs a program from there.
//
// Mirrors are those of the machine's own apt configuration, whatever its
// suite; signatures are checked by apt against Debian's archive keyring.
package debroot
