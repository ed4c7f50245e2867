// Package keyspace reads the keyspace of a live Redis or Valkey from outside:
// it attaches to the process, proves how that build lays out its dictionaries,
// and yields for every key its type, encoding, heat bits and the address
// ranges of its bucket slot, dict entry, key string, object and value. It
// sends no command, writes nothing and never stops the target.
//
// The target changes while it is read, and whatever it holds is hostile.
// Every pointer is checked against the target's writable memory, every length
// and every loop is bounded, and an entry counts only when its key hashes to
// the bucket it was found in; what does not fit is counted in Stats, not
// returned.
package keyspace
