package keyspace

import (
	"context"
	"iter"
)

// maxChain bounds the entries of one bucket: with a load factor of at most 5
// (dict_force_resize_ratio, src/dict.c) a longer chain is a loop.
const maxChain = 128

// maxLoad bounds the entries of many buckets together, likewise: beyond it the
// table is not one.
const maxLoad = 16

// maxKeyLen bounds the keys that are read, in bytes. The entry of a longer
// key is counted as KeyTooLong.
const maxKeyLen = maxRead

// maxNames bounds the keys that are held at a time, in bytes.
const maxNames = 16 << 20

// entrySize is what every dictEntry starts with: key, value, next
// (Redis 7.0.15 src/dict.h, struct dictEntry).
const entrySize = 24

// found is an entry of a dictionary on its way to become an Entry.
type found struct {
	bucket uint64 // index in its table
	addr   uint64 // of the entry
	keyPtr uint64
	valPtr uint64
	key    sds
	name   []byte
	object object
}

// chains reads the entries of the given buckets of a table, all chains in
// step: one round reads the n-th entry of every chain.
func (r *reader) chains(ctx context.Context, t table, buckets iter.Seq[uint64]) ([]found, error) {
	r.win.reset()
	for b := range buckets {
		r.win.want(t.addr+8*b, 8)
	}
	if err := r.win.fetch(ctx); err != nil {
		return nil, err
	}
	type link struct{ bucket, ptr uint64 }
	var heads []link
	read := 0
	refreshed := false
	var refreshErr error
	follow := func(bucket, ptr uint64) {
		if ptr == 0 {
			return
		}
		ok := r.win.data.contains(ptr, entrySize)
		if !ok && !refreshed {
			// The server may have got more memory. New entries are at the heads
			// of chains: without theirs, the entries behind would be lost.
			refreshed = true
			refreshErr = r.refresh()
			ok = refreshErr == nil && r.win.data.contains(ptr, entrySize)
		}
		if !ok || ptr&7 != 0 {
			r.stats.count(BadEntryPointer)
			return
		}
		heads = append(heads, link{bucket, ptr})
	}
	for b := range buckets {
		read++
		if slot := r.win.at(t.addr+8*b, 8); slot != nil {
			follow(b, u64(slot))
		} else {
			r.stats.count(Unreadable)
		}
	}
	var all []found
	for depth := 0; len(heads) > 0; depth++ {
		if depth == maxChain || len(all)+len(heads) > maxLoad*read+maxChain {
			r.stats.add(ChainTooLong, len(heads))
			break
		}
		for _, l := range heads {
			r.win.want(l.ptr, entrySize)
		}
		if err := r.win.fetch(ctx); err != nil {
			return nil, err
		}
		links := heads
		heads = nil
		for _, l := range links {
			b := r.win.at(l.ptr, entrySize)
			if b == nil {
				r.stats.count(Unreadable)
				continue
			}
			f := found{bucket: l.bucket, addr: l.ptr, keyPtr: u64(b), valPtr: u64(b[8:])}
			next := u64(b[16:])
			all = append(all, f)
			follow(l.bucket, next)
		}
	}
	return all, refreshErr
}

// names reads the keys of entries and keeps those whose key is a sound string
// that accept takes. It stops when it holds maxNames bytes of keys, and returns
// the entries it did not come to.
func (r *reader) names(ctx context.Context, entries []found, accept func(*found) bool) (named, rest []found, err error) {
	const usual = 64 // bytes read at once; longer keys take a second round
	r.win.reset()
	for i := range entries {
		wantSDS(r.win, entries[i].keyPtr, usual)
	}
	if err := r.win.fetch(ctx); err != nil {
		return nil, nil, err
	}
	sound := make([]found, 0, len(entries))
	for held := uint64(0); len(entries) > 0 && held < maxNames; entries = entries[1:] {
		f := entries[0]
		var ok bool
		if f.key, ok = decodeSDS(r.win, f.keyPtr); !ok {
			r.stats.count(BadKey)
			continue
		}
		if f.key.len > maxKeyLen-1 {
			r.stats.count(KeyTooLong)
			continue
		}
		r.win.want(f.key.text, f.key.len+1)
		held += f.key.len
		sound = append(sound, f)
	}
	if err := r.win.fetch(ctx); err != nil {
		return nil, nil, err
	}
	named = sound[:0]
	r.arena = r.arena[:0]
	for _, f := range sound {
		text := r.win.at(f.key.text, f.key.len+1)
		if text == nil || text[f.key.len] != 0 {
			r.stats.count(BadKey)
			continue
		}
		// Growing the arena leaves earlier names in the array they point to.
		start := len(r.arena)
		r.arena = append(r.arena, text[:f.key.len]...)
		f.name = r.arena[start:len(r.arena):len(r.arena)]
		if accept(&f) {
			named = append(named, f)
		}
	}
	return named, entries, nil
}

// objects reads the object header of every entry and keeps the entries that
// have a plausible one.
func (r *reader) objects(ctx context.Context, entries []found) ([]found, error) {
	for i := range entries {
		r.win.want(entries[i].valPtr, objectSize)
	}
	if err := r.win.fetch(ctx); err != nil {
		return nil, err
	}
	sound := entries[:0]
	for _, f := range entries {
		b := r.win.at(f.valPtr, objectSize)
		if b == nil || f.valPtr&7 != 0 || !r.win.data.contains(f.valPtr, objectSize) {
			r.stats.count(BadObject)
			continue
		}
		if f.object = decodeObject(b); !f.object.plausible() {
			r.stats.count(BadObject)
			continue
		}
		sound = append(sound, f)
	}
	return sound, nil
}
