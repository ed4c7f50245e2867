package keyspace

import (
	"errors"
	"fmt"
	"math"
)

// ErrUnsupportedLayout is returned when the process is not a server whose
// keyspace this package can read, or when its layout could not be proven.
var ErrUnsupportedLayout = errors.New("unsupported keyspace layout")

// Layout is how the attached server lays out its keyspace and how that was
// proven.
type Layout struct {
	Family    string `json:"family"`     // of structures, named after the first version that has them
	Databases int    `json:"databases"`  // number of databases
	DBOffset  uint64 `json:"db_offset"`  // of server.db in struct redisServer, bytes
	DBStride  uint64 `json:"db_stride"`  // sizeof(redisDb), bytes; 0 with one database
	EntrySize uint64 `json:"entry_size"` // sizeof(dictEntry) with its metadata, bytes
	// Proof: of the Names sampled entries (the server's commands, then keys),
	// Proven hash to the bucket they were found in under the one seed found.
	Proven int `json:"proven"`
	Names  int `json:"names"`
}

// table is one of a dictionary's two hash tables.
type table struct {
	addr uint64 // of slot 0
	exp  int8   // log2 of the number of slots; -1: no table
	used uint64 // entries
}

func (t table) slots() uint64 {
	if t.exp < 0 {
		return 0
	}
	return 1 << t.exp
}

// dict is the header of a dictionary. While it rehashes it has two tables.
type dict struct {
	typ    uint64
	tables [2]table
	rehash int64 // next bucket of table 0 to be moved to table 1; -1: none is
}

// movedUpTo returns up to which bucket the server may have moved the entries
// of a table to another one.
func (d dict) movedUpTo(t table) uint64 {
	for i, now := range d.tables {
		if now.addr == t.addr && now.exp == t.exp {
			if i == 0 && d.rehash > 0 {
				return uint64(d.rehash)
			}
			return 0
		}
	}
	return math.MaxUint64 // it is gone, so all may have been
}

// Offsets in struct dict of Redis 7.0 (7.0.15 src/dict.h, struct dict).
const (
	dictType    = 0
	dictTables  = 8
	dictUsed    = 24
	dictRehash  = 40
	dictSizeExp = 50
	dictSize    = 56
)

const (
	// maxSizeExp bounds the size of a table: 2^40 slots are 8 TiB.
	maxSizeExp = 40
	// maxSparse bounds how many slots of a large table may be there for each
	// entry: servers shrink tables that are less than a tenth full.
	maxSparse = 4096
)

// errBadDict is wrapped by what decodeDict finds wrong.
var errBadDict = errors.New("dictionary header makes no sense")

// decodeDict decodes and checks the header of a dictionary.
func decodeDict(b []byte, data *addressMap) (dict, error) {
	if len(b) < dictSize {
		return dict{}, fmt.Errorf("%w: not readable", errBadDict)
	}
	d := dict{typ: u64(b[dictType:]), rehash: int64(u64(b[dictRehash:]))}
	slots, used := uint64(0), uint64(0)
	for i := range d.tables {
		t := table{
			addr: u64(b[dictTables+8*i:]),
			used: u64(b[dictUsed+8*i:]),
			exp:  int8(b[dictSizeExp+i]),
		}
		switch {
		case t.exp == -1 && t.addr == 0 && t.used == 0:
		case t.exp < 0 || t.exp > maxSizeExp:
			return dict{}, fmt.Errorf("%w: table of 2^%d slots", errBadDict, t.exp)
		case !data.contains(t.addr, 8*t.slots()):
			return dict{}, fmt.Errorf("%w: table at %#x outside the server's data", errBadDict, t.addr)
		}
		d.tables[i] = t
		slots, used = slots+t.slots(), used+t.used
	}
	if slots > 1<<20 && slots/maxSparse > used {
		return dict{}, fmt.Errorf("%w: %d slots for %d entries", errBadDict, slots, used)
	}
	return d, nil
}

// Offsets in struct redisObject up to Redis 8.4 (7.0.15 src/server.h):
// type 4 bits, encoding 4 bits, lru 24 bits, refcount 32 bits, ptr 64 bits.
const (
	objectRefcount = 4
	objectPtr      = 8
	objectSize     = 16
)

// sharedRefcount marks an object that many keys point to
// (OBJ_SHARED_REFCOUNT = INT_MAX, src/server.h).
const sharedRefcount = 1<<31 - 1

type object struct {
	typ      Type
	encoding Encoding
	heat     uint32
	refcount uint32
	ptr      uint64
}

func decodeObject(b []byte) object {
	return object{
		typ:      Type(b[0] & 15),
		encoding: Encoding(b[0] >> 4),
		heat:     u32(b) >> 8,
		refcount: u32(b[objectRefcount:]),
		ptr:      u64(b[objectPtr:]),
	}
}

// plausible reports whether the header can be that of a key's value: a known
// type in an encoding that type has.
func (o object) plausible() bool {
	if o.refcount == 0 || o.refcount > sharedRefcount {
		return false
	}
	switch o.typ {
	case String:
		return o.encoding == Raw || o.encoding == Int || o.encoding == EmbStr
	case List:
		return o.encoding == QuickList
	case Set:
		return o.encoding == HashTable || o.encoding == Intset
	case SortedSet:
		return o.encoding == SkipList || o.encoding == ListPack
	case Hash:
		return o.encoding == HashTable || o.encoding == ListPack
	case Module:
		return o.encoding == Raw
	case Stream:
		return o.encoding == RadixTree
	}
	return false
}

// sds is a dynamic string of the server (Redis 7.0.15 src/sds.h): a header of
// 1, 3, 5, 9 or 17 bytes, whose last byte tells which, then the string and a
// NUL. Pointers point behind the header.
type sds struct {
	start uint64 // of the header
	text  uint64 // of the string
	len   uint64 // of the string, bytes
	size  uint64 // of header, allocated string and NUL, bytes
}

// maxSDSHeader is the size of the longest header.
const maxSDSHeader = 17

// sdsHeaders are the header sizes by type, the low 3 bits of the flag byte.
var sdsHeaders = [...]uint64{1, 3, 5, 9, 17}

// maxStringLen is the longest string a server keeps: proto-max-bulk-len is
// 512 MiB by default, and a multiple of it is not yet absurd.
const maxStringLen = 1 << 32

// decodeSDS decodes the string that ptr points to, out of the window.
func decodeSDS(w *window, ptr uint64) (sds, bool) {
	flag := w.at(ptr-1, 1)
	if flag == nil || int(flag[0]&7) >= len(sdsHeaders) {
		return sds{}, false
	}
	s := sds{text: ptr}
	f := flag[0]
	header := sdsHeaders[f&7]
	s.start = ptr - header
	var alloc uint64
	if f&7 == 0 {
		s.len = uint64(f >> 3)
		alloc = s.len
	} else {
		b := w.at(s.start, header)
		if b == nil {
			return sds{}, false
		}
		switch f & 7 {
		case 1:
			s.len, alloc = uint64(b[0]), uint64(b[1])
		case 2:
			s.len, alloc = uint64(u16(b)), uint64(u16(b[2:]))
		case 3:
			s.len, alloc = uint64(u32(b)), uint64(u32(b[4:]))
		case 4:
			s.len, alloc = u64(b), u64(b[8:])
		}
	}
	if s.len > alloc || alloc > maxStringLen {
		return sds{}, false
	}
	s.size = header + alloc + 1
	return s, w.data.contains(s.start, s.size)
}

// wantSDS asks for what decodeSDS needs, and for the first n bytes of text.
func wantSDS(w *window, ptr, n uint64) {
	w.want(ptr-maxSDSHeader, maxSDSHeader+n)
}
