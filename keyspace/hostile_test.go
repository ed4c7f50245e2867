package keyspace

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

// image is a copy of memory that begins at address imageBase. It is so low
// that a fuzzer's small numbers are pointers into it.
type image []byte

const imageBase = 1 << pageShift

func (m image) ReadPages(dst []byte, pages []uint64, ok []bool) error {
	for i, p := range pages {
		from := p<<pageShift - imageBase
		if p<<pageShift < imageBase || from >= uint64(len(m)) {
			continue
		}
		clear(dst[i*pageSize : (i+1)*pageSize])
		copy(dst[i*pageSize:(i+1)*pageSize], m[from:])
		ok[i] = true
	}
	return nil
}

// keyspace returns a keyspace whose one database is at the start of the image.
func (m image) keyspace() *Keyspace {
	data := newAddressMap([]span{{imageBase, imageBase + uint64(len(m))}})
	return &Keyspace{
		mem: m, dbs: imageBase, maps: func() (*addressMap, error) { return data, nil },
		layout: Layout{Databases: 1, EntrySize: entrySize},
	}
}

// builder lays structures out in an image as a server would.
type builder struct{ m image }

func (b *builder) alloc(n int) (addr uint64) {
	for len(b.m)%8 != 0 {
		b.m = append(b.m, 0)
	}
	addr = imageBase + uint64(len(b.m))
	b.m = append(b.m, make([]byte, n)...)
	return addr
}

func (b *builder) words(words ...uint64) uint64 {
	addr := b.alloc(8 * len(words))
	for i, w := range words {
		binary.LittleEndian.PutUint64(b.m[addr-imageBase+8*uint64(i):], w)
	}
	return addr
}

// sds returns the address of the text.
func (b *builder) sds(s string) uint64 {
	if len(s) < 256 {
		addr := b.alloc(4 + len(s))
		copy(b.m[addr-imageBase:], append([]byte{byte(len(s)), byte(len(s)), 1}, s...))
		return addr + 3
	}
	addr := b.alloc(10 + len(s))
	binary.LittleEndian.PutUint32(b.m[addr-imageBase:], uint32(len(s)))
	binary.LittleEndian.PutUint32(b.m[addr-imageBase+4:], uint32(len(s)))
	b.m[addr-imageBase+8] = 3
	copy(b.m[addr-imageBase+9:], s)
	return addr + 9
}

func (b *builder) object(t Type, e Encoding, ptr uint64) uint64 {
	return b.words(uint64(t)|uint64(e)<<4|1<<32, ptr)
}

// dict returns a dictionary of 4 slots whose entries are in their buckets.
func (b *builder) dict(entries map[string]uint64) uint64 {
	table := b.words(0, 0, 0, 0)
	for key, val := range entries {
		slot := table - imageBase + 8*(seed{}.hash([]byte(key))&3)
		next := binary.LittleEndian.Uint64(b.m[slot:])
		entry := b.words(b.sds(key), val, next)
		binary.LittleEndian.PutUint64(b.m[slot:], entry)
	}
	// type, tables, used, rehashidx, pauserehash and size exponents 2 and -1
	return b.words(0, table, 0, uint64(len(entries)), 0, ^uint64(0), 0xff020000)
}

// everyStructure is a database with a value of every encoding.
func everyStructure() image {
	b := &builder{}
	db := b.words(0, 0)
	listpack := b.words(7 | 0xff<<48)
	rax := func(leaf uint64) uint64 {
		return b.words(b.words(1, leaf), 1, 1) // a root that is a key without characters
	}
	node := b.words(0, 0, listpack, 7, 1|1<<16|2<<18)
	last := b.words(0, 0, 0, 0, 0)
	header := b.alloc(24 + 32*16)
	binary.LittleEndian.PutUint64(b.m[header-imageBase+24:], last)
	consumers := rax(b.words(0, b.sds("consumer"), rax(0)))
	group := b.words(0, 0, 0, rax(b.words(0, 0, 0)), consumers)
	main := b.dict(map[string]uint64{
		"int":  b.object(String, Int, 7),
		"raw":  b.object(String, Raw, b.sds("value")),
		"list": b.object(List, QuickList, b.words(node, node, 1, 1, 0)),
		"ints": b.object(Set, Intset, b.words(2|1<<32, 5)),
		"set":  b.object(Set, HashTable, b.dict(map[string]uint64{"member": 0})),
		"zset": b.object(SortedSet, SkipList, b.words(b.dict(map[string]uint64{"m": 0}), b.words(header, last, 1, 1))),
		"pack": b.object(Hash, ListPack, listpack),
		"hash": b.object(Hash, HashTable, b.dict(map[string]uint64{"field": b.sds("v")})),
		"strm": b.object(Stream, RadixTree, b.words(rax(listpack), 1, 0, 0, 0, 0, 0, 0, 0, rax(group))),
		"mod":  b.object(Module, Raw, b.words(0, 0)),
	})
	binary.LittleEndian.PutUint64(b.m[db-imageBase:], main)
	return b.m
}

func TestEveryStructure(t *testing.T) {
	visited := map[string]int{}
	stats, err := everyStructure().keyspace().Walk(t.Context(), func(e *Entry) error {
		visited[string(e.Key)] = len(e.Extents)
		if e.Incomplete {
			t.Errorf("key %q is incomplete", e.Key)
		}
		return nil
	})
	if err != nil || len(stats.Anomalies) > 0 {
		t.Fatalf("anomalies %v, error %v", stats.Anomalies, err)
	}
	for key, least := range map[string]int{"int": 4, "raw": 5, "list": 7, "ints": 5, "set": 8, "zset": 12, "pack": 5, "hash": 9, "strm": 18, "mod": 5} {
		if visited[key] < least {
			t.Errorf("key %q has %d extents, want at least %d", key, visited[key], least)
		}
	}
}

// TestManyLongKeys: keys are held a few at a time, however long they are.
func TestManyLongKeys(t *testing.T) {
	b := &builder{}
	db := b.words(0, 0)
	entries := map[string]uint64{}
	for i := range 40 {
		key := strings.Repeat(string(rune('0'+i)), maxKeyLen-10)
		entries[key] = b.object(String, Int, 0)
	}
	main := b.dict(entries)
	binary.LittleEndian.PutUint64(b.m[db-imageBase:], main)
	longest, visited := 0, 0
	k := b.m.keyspace()
	r, err := k.newReader()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.walkDB(t.Context(), r, 0, func(*Entry) error {
		visited++
		longest = max(longest, len(r.arena))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if visited != len(entries) || longest > maxNames+maxKeyLen {
		t.Errorf("visited %d keys of %d, holding %d bytes", visited, len(entries), longest)
	}
}

// FuzzWalk walks hostile memory: it must end, soon and without a panic, and
// hand out nothing that lies outside the memory.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(everyStructure()))
	f.Add([]byte(everyStructure()[:2000]))
	loop := everyStructure()
	for i := 0; i+8 <= len(loop); i += 8 {
		if binary.LittleEndian.Uint64(loop[i:]) == 0 {
			binary.LittleEndian.PutUint64(loop[i:], imageBase+uint64(i)&^7)
		}
	}
	f.Add([]byte(loop))
	f.Fuzz(func(t *testing.T, memory []byte) {
		if len(memory) > 1<<16 {
			return
		}
		m := image(memory)
		start, extents := time.Now(), 0
		_, err := m.keyspace().Walk(t.Context(), func(e *Entry) error {
			for _, x := range e.Extents {
				extents++
				if x.Addr < imageBase || x.Addr+uint64(x.Len) > imageBase+uint64(len(m)) || x.Len == 0 || x.Siblings == 0 {
					t.Errorf("key %q: extent %+v is outside the memory of %d bytes", e.Key, x, len(m))
				}
			}
			return nil
		})
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d bytes took %v, %d extents (%v)", len(m), took, extents, err)
		}
	})
}

// TestUnreadableNeighbour: a string whose header begins right behind a page
// that cannot be read.
func TestUnreadableNeighbour(t *testing.T) {
	m := make(image, 2*pageSize)
	copy(m[:], []byte{5, 5, 1, 'h', 'e', 'l', 'l', 'o', 0})
	w := newWindow(m, newAddressMap([]span{{imageBase, imageBase + uint64(len(m))}}))
	wantSDS(w, imageBase+3, 6)
	if err := w.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, ok := decodeSDS(w, imageBase+3)
	if !ok || s.len != 5 || s.start != imageBase || s.size != 9 {
		t.Errorf("decoded %+v, %v", s, ok)
	}
}

// TestSipHash checks the reference vectors of SipHash-2-4 (Aumasson and
// Bernstein, appendix A): the rounds are the same.
func TestSipHash(t *testing.T) {
	key := make([]byte, 16)
	message := make([]byte, 15)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range message {
		message[i] = byte(i)
	}
	s := seedFrom(key)
	if got := s.sip(message, 2, 4); got != 0xa129ca6149be45e5 {
		t.Errorf("of 15 bytes: %#x", got)
	}
	if got := s.sip(nil, 2, 4); got != 0x726fdb47dd0e0e31 {
		t.Errorf("of nothing: %#x", got)
	}
}
