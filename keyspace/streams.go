package keyspace

// streamStep does the steps of streams: a radix tree of listpacks, and a radix
// tree of consumer groups (Redis 7.0.15 src/stream.h, src/rax.h).
func (v *values) streamStep(s *step, b []byte) {
	tree := func(leaf op, addr uint64) {
		if addr != 0 {
			v.push(step{op: opRax, leaf: leaf, entry: s.entry, siblings: s.siblings, addr: addr})
		}
	}
	switch s.op {
	case opStream:
		v.emit(s.entry, Value, s.addr, opSizes[opStream], 1)
		v.allow(s.entry, 2)
		tree(opListPack, u64(b))
		tree(opGroup, u64(b[72:]))
	case opRax:
		v.emit(s.entry, Value, s.addr, opSizes[opRax], s.siblings)
		keys, nodes := min(u64(b[8:]), maxValueSteps), min(u64(b[16:]), maxValueSteps)
		// A node takes two steps, and each key may hold two trees of its own.
		v.allow(s.entry, 2*nodes+4*keys)
		v.push(step{op: opRaxNode, leaf: s.leaf, entry: s.entry, siblings: siblings(nodes), addr: u64(b)})
	case opRaxNode:
		v.push(step{op: opRaxBody, leaf: s.leaf, entry: s.entry, siblings: s.siblings, addr: s.addr, n: decodeRaxHeader(u32(b)).size})
	case opRaxBody:
		v.raxBody(s, b)
	case opGroup:
		v.emit(s.entry, Value, s.addr, opSizes[opGroup], s.siblings)
		tree(opNACK, u64(b[24:]))
		tree(opConsumer, u64(b[32:]))
	case opConsumer:
		v.emit(s.entry, Value, s.addr, opSizes[opConsumer], s.siblings)
		v.push(step{op: opSDS, entry: s.entry, siblings: s.siblings, addr: u64(b[8:])})
		// The pending entries are those of the group.
		tree(opNone, u64(b[16:]))
	}
}

// raxHeader is the decoded first word of a raxNode: 3 flags, 29 bits of size.
type raxHeader struct {
	children uint64 // number of child pointers
	pointers uint64 // offset of the first
	value    bool   // a value pointer follows them
	size     uint64 // of the node, bytes
}

func decodeRaxHeader(word uint32) raxHeader {
	isKey, isNull, compressed := word&1 != 0, word&2 != 0, word&4 != 0
	chars := uint64(word >> 3)
	h := raxHeader{children: chars, value: isKey && !isNull}
	if compressed {
		h.children = 1
	}
	h.pointers = (4 + chars + 7) &^ 7 // raxPadding aligns the pointers
	h.size = h.pointers + 8*h.children
	if h.value {
		h.size += 8
	}
	return h
}

const nackSize = 24 // streamNACK

func (v *values) raxBody(s *step, b []byte) {
	h := decodeRaxHeader(u32(b))
	if h.size != s.n {
		v.fail(s.entry, BadValue) // changed since its header was read
		return
	}
	v.emit(s.entry, Value, s.addr, s.n, s.siblings)
	b = b[h.pointers:]
	for range h.children {
		v.push(step{op: opRaxNode, leaf: s.leaf, entry: s.entry, siblings: s.siblings, addr: u64(b)})
		b = b[8:]
	}
	if !h.value || s.leaf == opNone {
		return
	}
	leaf := step{op: s.leaf, entry: s.entry, siblings: s.siblings, addr: u64(b)}
	if s.leaf == opNACK {
		leaf.n = nackSize
	}
	v.push(leaf)
}
