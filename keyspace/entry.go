package keyspace

import "strconv"

// Kind is what a piece of memory of a key is. A GET reads one of each, in
// this order, each found through the one before.
type Kind uint8

// The five kinds of memory.
const (
	Bucket Kind = iota // the slot of the hash table that points to the entry
	DictEntry
	Key    // the key string with its header
	Object // the object header with type, encoding and heat bits
	Value
	numKinds = iota
)

var kindNames = [numKinds]string{"bucket", "entry", "key", "object", "value"}

func (k Kind) String() string { return name(kindNames[:], uint8(k)) }

// Type is the type of a key's value, numbered as the servers do
// (Redis 7.0.15 src/server.h, OBJ_STRING and following).
type Type uint8

// The types of values.
const (
	String Type = iota
	List
	Set
	SortedSet
	Hash
	Module
	Stream
	numTypes = iota
)

var typeNames = [numTypes]string{"string", "list", "set", "zset", "hash", "module", "stream"}

// String is the name that the command TYPE answers with.
func (t Type) String() string { return name(typeNames[:], uint8(t)) }

// Encoding is how a value is stored, numbered as the servers do
// (Redis 7.0.15 src/server.h, OBJ_ENCODING_RAW and following).
type Encoding uint8

// The encodings of values. Zipmap, linked list and ziplist exist only in
// number: no server since 7.0 makes them.
const (
	Raw Encoding = iota
	Int
	HashTable
	Zipmap
	LinkedList
	Ziplist
	Intset
	SkipList
	EmbStr
	QuickList
	RadixTree
	ListPack
	numEncodings = iota
)

var encodingNames = [numEncodings]string{"raw", "int", "hashtable", "zipmap", "linkedlist", "ziplist",
	"intset", "skiplist", "embstr", "quicklist", "stream", "listpack"}

// String is the name that the command OBJECT ENCODING answers with.
func (e Encoding) String() string { return name(encodingNames[:], uint8(e)) }

func name(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "unknown(" + strconv.Itoa(int(i)) + ")"
}

// Extent is the address range of one allocation, or of the part of it that
// the server uses.
type Extent struct {
	Addr uint64
	Len  uint32 // bytes; longer allocations are several extents
	// Siblings is among how many extents of the same role a request for the
	// key chooses: 1 for what every request reads, the number of fields for
	// one field of a hash. Never 0.
	Siblings uint32
	Kind     Kind
}

// Entry is one key with what is known of its memory.
type Entry struct {
	DB       int
	Key      []byte // valid only during the visit
	Type     Type
	Encoding Encoding
	// HeatBits are the 24 bits of the object header that eviction uses. Under
	// an LFU policy the low 8 are the logarithmic access counter, not decayed
	// since the last access, and the high 16 the minute of that access, modulo
	// 2^16. Else they are the LRU clock at the last access, in seconds modulo
	// 2^24 (Redis 7.0.15 src/server.h, struct redisObject; src/evict.c).
	HeatBits uint32
	// Extents are this part's extents; valid only during the visit.
	Extents []Extent
	// Part counts from 0. A value of very many allocations is visited in
	// several parts; only the first has the metadata.
	Part int
	// Incomplete says that the value changed while it was read, or did not
	// make sense, so some of its extents are missing.
	Incomplete bool
}

// Kinds returns all kinds, in the order a request reads them.
func Kinds() []Kind { return []Kind{Bucket, DictEntry, Key, Object, Value} }
