package keyspace

import (
	"context"
	"math"
)

// Values are taken apart by a worklist of steps. A step reads one structure;
// what it points to becomes new steps. Steps of many values go together in
// rounds, so that one bulk read serves all of them, and the list is taken
// from its end, so that it stays short however large a value is.
const (
	roundSteps  = 4096    // steps of one round
	slotsPerOp  = 128     // hash table slots read by one step
	batchValues = 4096    // values taken apart together
	flushAfter  = 1 << 16 // extents held before they are handed on
	slack       = 64      // parts a value may have grown while it is read
	// maxValueSteps bounds the work on one value, whatever its headers claim.
	maxValueSteps = 1 << 26
	// maxPiece splits allocations that are longer than an Extent can say.
	maxPiece = 1 << 30
)

// A step reads one structure of the value of entry.
type step struct {
	op       op
	leaf     op // of a radix tree: what its values are; of a dict: its entries
	entry    int32
	siblings uint32
	addr     uint64
	n        uint64 // bytes, slots or links left, as the op needs
}

// op is what a step reads. The offsets and sizes are those of Redis 7.0.15.
type op uint8

const (
	opNone       op = iota
	opSDS           // sds string
	opBlob          // n bytes of known length; nothing inside
	opListPack      // listpack: total bytes in its first 4 (src/listpack.c)
	opIntset        // encoding, length, then the integers (src/intset.h)
	opDict          // dict header
	opSlots         // hash table of which n slots are left
	opSetEntry      // dictEntry with an sds key
	opHashEntry     // dictEntry with an sds key and an sds value
	opQuickList     // quicklist (src/quicklist.h)
	opQuickNode     // quicklistNode
	opLZF           // quicklistLZF
	opZset          // zset: dict, zskiplist (src/server.h)
	opSkipList      // zskiplist
	opSkipHeader    // its header node, with all levels
	opSkipNode      // zskiplistNode
	opStream        // stream (src/stream.h)
	opRax           // rax (src/rax.h)
	opRaxNode       // raxNode: its header, to learn its size
	opRaxBody       // raxNode: n bytes
	opGroup         // streamCG
	opConsumer      // streamConsumer
	opNACK          // streamNACK
	numOps
)

// opSizes are the bytes that a step of fixed size reads.
var opSizes = [numOps]uint64{
	opListPack: 4, opIntset: 8, opDict: dictSize, opSetEntry: entrySize, opHashEntry: entrySize,
	opQuickList: 40, opQuickNode: 40, opLZF: 8, opZset: 16, opSkipList: 32,
	opSkipHeader: 24 + 32*16, opSkipNode: 40, opStream: 80, opRax: 24, opRaxNode: 4,
	opGroup: 40, opConsumer: 24,
}

// size is how many bytes at its address a step needs to be there.
func (s *step) size() uint64 {
	switch s.op {
	case opBlob, opNACK, opRaxBody:
		return s.n
	case opSlots:
		return 8 * min(s.n, slotsPerOp)
	case opSDS:
		return 1 // its header tells the rest
	}
	return opSizes[s.op]
}

// values takes values apart and hands the finished entries to visit.
type values struct {
	r       *reader
	db      int
	table   table
	entries []found
	visit   func(*Entry) error

	todo    []step
	extents []Extent // found so far, and in
	owners  []int32  // the entry each belongs to
	budget  []int64  // steps left, by entry
	parts   []int    // parts visited, by entry
	broken  []bool   // incomplete, by entry
	sorted  []Extent // scratch of flush
	offsets []int
}

func (v *values) run(ctx context.Context) error {
	for all := v.entries; len(all) > 0; {
		n := min(len(all), batchValues)
		v.entries, all = all[:n], all[n:]
		if err := v.batch(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (v *values) batch(ctx context.Context) error {
	n := len(v.entries)
	v.budget, v.parts, v.broken = make([]int64, n), make([]int, n), make([]bool, n)
	v.r.win.reset()
	for i := range v.entries {
		v.budget[i] = slack
		v.start(int32(i))
	}
	for len(v.todo) > 0 {
		from := max(0, len(v.todo)-roundSteps)
		// Copied: the steps of a round push new ones onto the same list.
		round := append([]step(nil), v.todo[from:]...)
		v.todo = v.todo[:from]
		for i := range round {
			v.want(&round[i])
		}
		if err := v.r.win.fetch(ctx); err != nil {
			return err
		}
		for i := range round {
			v.do(&round[i])
		}
		if len(v.extents) > flushAfter {
			if err := v.flush(false); err != nil {
				return err
			}
		}
		if v.r.win.full() {
			v.r.win.reset()
		}
	}
	return v.flush(true)
}

// start emits what is known of an entry and pushes the first step.
func (v *values) start(i int32) {
	f := &v.entries[i]
	v.emit(i, Bucket, v.table.addr+8*f.bucket, 8, 1)
	v.emit(i, DictEntry, f.addr, v.r.k.layout.EntrySize, 1)
	v.emit(i, Key, f.key.start, f.key.size, 1)
	o := f.object
	if o.refcount != sharedRefcount {
		v.emit(i, Object, f.valPtr, objectSize, 1)
	}
	if o.encoding == Int {
		return
	}
	first := opNone
	switch o.typ {
	case String:
		first = opSDS
		if o.encoding == EmbStr && o.ptr != f.valPtr+objectSize+sdsHeaders[1] {
			v.fail(i, BadValue)
			return
		}
	case List:
		first = opQuickList
	case Stream:
		first = opStream
	case Module:
		// moduleValue: type, value (src/server.h). What the value points to
		// only the module knows.
		v.push(step{op: opBlob, entry: i, siblings: 1, addr: o.ptr, n: 16})
		return
	default:
		switch o.encoding {
		case ListPack:
			first = opListPack
		case Intset:
			first = opIntset
		case SkipList:
			first = opZset
		case HashTable:
			leaf := opSetEntry
			if o.typ == Hash {
				leaf = opHashEntry
			}
			v.push(step{op: opDict, leaf: leaf, entry: i, siblings: 1, addr: o.ptr})
			return
		}
	}
	v.push(step{op: first, entry: i, siblings: 1, addr: o.ptr})
}

// push adds a step, unless its address is nowhere or its value has used up
// its budget.
func (v *values) push(s step) {
	if v.broken[s.entry] {
		return
	}
	if v.budget[s.entry]--; v.budget[s.entry] < 0 {
		v.fail(s.entry, ValueTooLong)
		return
	}
	if !v.r.win.data.contains(s.addr, s.size()) {
		v.fail(s.entry, BadValue)
		return
	}
	v.todo = append(v.todo, s)
}

// allow raises the budget of a value by what one of its headers claims.
func (v *values) allow(i int32, parts uint64) {
	if parts > maxValueSteps {
		parts = maxValueSteps
	}
	v.budget[i] = min(v.budget[i]+int64(parts)+slack, maxValueSteps)
}

func (v *values) fail(i int32, a Anomaly) {
	v.r.stats.count(a)
	v.broken[i] = true
}

// emit notes an extent.
func (v *values) emit(i int32, k Kind, addr, n uint64, siblings uint32) {
	for n > 0 {
		piece := min(n, maxPiece)
		v.extents = append(v.extents, Extent{Addr: addr, Len: uint32(piece), Siblings: siblings, Kind: k})
		v.owners = append(v.owners, i)
		addr, n = addr+piece, n-piece
	}
}

func (v *values) want(s *step) {
	switch s.op {
	case opBlob, opNACK:
	case opSDS:
		wantSDS(v.r.win, s.addr, 0)
	default:
		v.r.win.want(s.addr, s.size())
	}
}

// do decodes what a step read, emits its extent and pushes what it leads to.
func (v *values) do(s *step) {
	if v.broken[s.entry] {
		return
	}
	switch s.op {
	case opBlob, opNACK:
		v.emit(s.entry, Value, s.addr, s.n, s.siblings)
		return
	case opSDS:
		str, ok := decodeSDS(v.r.win, s.addr)
		if !ok {
			v.fail(s.entry, BadValue)
			return
		}
		v.emit(s.entry, Value, str.start, str.size, s.siblings)
		return
	}
	b := v.r.win.at(s.addr, s.size())
	if b == nil {
		v.fail(s.entry, Unreadable)
		return
	}
	switch s.op {
	case opListPack:
		v.blob(s, uint64(u32(b)))
	case opIntset:
		v.blob(s, 8+uint64(u32(b))*uint64(u32(b[4:])))
	case opLZF:
		v.blob(s, 8+min(u64(b), maxStringLen))
	case opDict:
		v.dict(s, b)
	case opSlots:
		// The rest of the table waits as one step, however large it is.
		if s.n > slotsPerOp {
			rest := *s
			rest.addr, rest.n = s.addr+8*slotsPerOp, s.n-slotsPerOp
			v.push(rest)
		}
		v.emit(s.entry, Value, s.addr, uint64(len(b)), siblings(uint64(len(b)/8)))
		for ; len(b) > 0; b = b[8:] {
			if ptr := u64(b); ptr != 0 {
				v.push(step{op: s.leaf, entry: s.entry, siblings: s.siblings, addr: ptr, n: maxChain})
			}
		}
	case opSetEntry, opHashEntry:
		v.dictEntry(s, b)
	case opQuickList:
		v.emit(s.entry, Value, s.addr, opSizes[s.op], 1)
		nodes := u64(b[24:])
		v.allow(s.entry, 3*nodes)
		v.link(step{op: opQuickNode, entry: s.entry, siblings: siblings(nodes), addr: u64(b), n: nodes + slack})
	case opQuickNode:
		v.quickNode(s, b)
	case opZset:
		v.emit(s.entry, Value, s.addr, opSizes[s.op], 1)
		dict, list := u64(b), u64(b[8:])
		v.push(step{op: opDict, leaf: opSetEntry, entry: s.entry, siblings: 1, addr: dict})
		v.push(step{op: opSkipList, entry: s.entry, siblings: 1, addr: list})
	case opSkipList:
		v.emit(s.entry, Value, s.addr, opSizes[s.op], 1)
		nodes := u64(b[16:])
		v.allow(s.entry, nodes)
		v.push(step{op: opSkipHeader, entry: s.entry, siblings: siblings(nodes), addr: u64(b), n: nodes + slack})
	case opSkipHeader, opSkipNode:
		// ele, score, backward, then the levels: forward, span. A node does
		// not say how many levels it has; all have one.
		size, each := opSizes[s.op], s.siblings
		if s.op == opSkipHeader {
			each = 1
		}
		v.emit(s.entry, Value, s.addr, size, each)
		v.link(step{op: opSkipNode, entry: s.entry, siblings: s.siblings, addr: u64(b[24:]), n: s.n})
	default:
		v.streamStep(s, b)
	}
}

// blob emits an allocation whose length was read from it.
func (v *values) blob(s *step, n uint64) {
	if n == 0 || !v.r.win.data.contains(s.addr, n) {
		v.fail(s.entry, BadValue)
		return
	}
	v.emit(s.entry, Value, s.addr, n, s.siblings)
}

// link pushes the next node of a list: addr may be nil, and n counts the
// nodes that may still follow.
func (v *values) link(s step) {
	switch {
	case s.addr == 0:
	case s.n == 0:
		v.fail(s.entry, ValueTooLong)
	default:
		s.n--
		v.push(s)
	}
}

func (v *values) dict(s *step, b []byte) {
	d, err := decodeDict(b, v.r.win.data)
	if err != nil {
		v.fail(s.entry, BadValue)
		return
	}
	v.emit(s.entry, Value, s.addr, dictSize, 1)
	used := min(d.tables[0].used+d.tables[1].used, maxValueSteps)
	for _, t := range d.tables {
		// Each entry is a step, and so are its key and value.
		v.allow(s.entry, 3*used+t.slots()/slotsPerOp)
		if t.slots() > 0 {
			v.push(step{op: opSlots, leaf: s.leaf, entry: s.entry, siblings: siblings(used), addr: t.addr, n: t.slots()})
		}
	}
}

func (v *values) dictEntry(s *step, b []byte) {
	v.emit(s.entry, Value, s.addr, entrySize, s.siblings)
	v.push(step{op: opSDS, entry: s.entry, siblings: s.siblings, addr: u64(b)})
	if s.op == opHashEntry {
		v.push(step{op: opSDS, entry: s.entry, siblings: s.siblings, addr: u64(b[8:])})
	}
	v.link(step{op: s.op, entry: s.entry, siblings: s.siblings, addr: u64(b[16:]), n: s.n})
}

func (v *values) quickNode(s *step, b []byte) {
	const lzf = 2 // QUICKLIST_NODE_ENCODING_LZF
	v.emit(s.entry, Value, s.addr, opSizes[opQuickNode], s.siblings)
	data := step{op: opBlob, entry: s.entry, siblings: s.siblings, addr: u64(b[16:]), n: u64(b[24:])}
	if encoding := b[34] & 3; encoding == lzf { // behind the 16 bits of count
		data.op, data.n = opLZF, 0
	}
	v.push(data)
	v.link(step{op: opQuickNode, entry: s.entry, siblings: s.siblings, addr: u64(b[8:]), n: s.n})
}

// flush hands the extents found so far to the visitor, entry by entry. The
// last flush of a batch also visits the entries that have none.
func (v *values) flush(last bool) error {
	// A counting sort by entry.
	v.offsets = append(v.offsets[:0], make([]int, len(v.entries)+1)...)
	for _, o := range v.owners {
		v.offsets[o+1]++
	}
	for i := range v.entries {
		v.offsets[i+1] += v.offsets[i]
	}
	v.sorted = append(v.sorted[:0], v.extents...)
	next := append([]int(nil), v.offsets...)
	for i, o := range v.owners {
		v.sorted[next[o]] = v.extents[i]
		next[o]++
	}
	v.extents, v.owners = v.extents[:0], v.owners[:0]
	for i := range v.entries {
		extents := v.sorted[v.offsets[i]:v.offsets[i+1]]
		if len(extents) == 0 && (!last || v.parts[i] > 0) {
			continue
		}
		f := &v.entries[i]
		if v.parts[i] == 0 {
			v.r.stats.Entries++
		}
		err := v.visit(&Entry{DB: v.db, Key: f.name, Type: f.object.typ, Encoding: f.object.encoding,
			HeatBits: f.object.heat, Extents: extents, Part: v.parts[i], Incomplete: v.broken[i]})
		if err != nil {
			return err
		}
		v.parts[i]++
	}
	return nil
}

// siblings clamps a count read from the target to what an Extent can say.
func siblings(n uint64) uint32 { return uint32(max(1, min(n, math.MaxUint32))) }
