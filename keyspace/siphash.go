package keyspace

import (
	"encoding/binary"
	"math/bits"
)

// seed is the 128-bit key with which a server hashes the keys of its
// dictionaries: the static dict_hash_function_seed of src/dict.c, random for
// each process.
type seed struct{ k0, k1 uint64 }

func seedFrom(b []byte) seed { return seed{u64(b), u64(b[8:])} }

// hash is SipHash-1-2, the hash of every supported server's keyspace
// (Redis 7.0.15 src/siphash.c, siphash, called by dictGenHashFunction).
func (s seed) hash(key []byte) uint64 { return s.sip(key, 1, 2) }

// sip is SipHash-c-d (Aumasson and Bernstein, 2012).
func (s seed) sip(key []byte, c, d int) uint64 {
	v0 := s.k0 ^ 0x736f6d6570736575
	v1 := s.k1 ^ 0x646f72616e646f6d
	v2 := s.k0 ^ 0x6c7967656e657261
	v3 := s.k1 ^ 0x7465646279746573
	rounds := func(n int) {
		for range n {
			v0 += v1
			v2 += v3
			v1 = bits.RotateLeft64(v1, 13) ^ v0
			v3 = bits.RotateLeft64(v3, 16) ^ v2
			v0 = bits.RotateLeft64(v0, 32)
			v2 += v1
			v0 += v3
			v1 = bits.RotateLeft64(v1, 17) ^ v2
			v3 = bits.RotateLeft64(v3, 21) ^ v0
			v2 = bits.RotateLeft64(v2, 32)
		}
	}
	last := uint64(len(key)) << 56
	for ; len(key) >= 8; key = key[8:] {
		m := binary.LittleEndian.Uint64(key)
		v3 ^= m
		rounds(c)
		v0 ^= m
	}
	for i, b := range key {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	rounds(c)
	v0 ^= last
	v2 ^= 0xff
	rounds(d)
	return v0 ^ v1 ^ v2 ^ v3
}
