package policy

import "numa-agent/topology"

// Page is one page of the target. There may be millions of them, so it is
// kept at 16 bytes.
type Page struct {
	Addr  uint64  // of its first byte, in the target
	Heat  float32 // estimated dependent touches per second, finite; ≤ 0 is cold
	Node  int16   // where it lies; negative: unknown or not resident
	Shift uint8   // log2 of its size in bytes: 12 for 4 KiB, 21 for 2 MiB
}

// Size returns the size of the page in bytes, which is never 0: only the lower
// six bits of Shift count.
func (p Page) Size() uint64 { return 1 << (p.Shift & 63) }

// NodeMemory is the memory of one node, in bytes.
type NodeMemory struct {
	ID           int
	FreeBytes    uint64
	ReserveBytes uint64 // a plan never takes free memory below this; see [ReserveBytes]
}

// room is how many bytes a plan may add to the node.
func (n NodeMemory) room() uint64 {
	if n.FreeBytes < n.ReserveBytes {
		return 0
	}
	return n.FreeBytes - n.ReserveBytes
}

// Snapshot is everything a plan is made from.
type Snapshot struct {
	Home         int            // node whose CPUs run the target's main thread
	AllowedNodes topology.IDSet // nodes the target's cpuset allows its memory on
	Nodes        []NodeMemory   // a node that is not listed has no room
	Pages        []Page         // each page once, in any order
	BudgetBytes  uint64         // most bytes the plan may move

	// UntilShare ends the plan once the local heat share it leads to is at
	// least this. From 0 to 1; 0 is no limit.
	UntilShare float64
}

// room is how many bytes a plan may add to node id.
func (s Snapshot) room(id int) uint64 {
	for _, n := range s.Nodes {
		if n.ID == id {
			return n.room()
		}
	}
	return 0
}

// Free memory kept on a node when nobody says otherwise.
const (
	reserveDivisor = 50       // 2 % of the node,
	reserveMin     = 64 << 20 // but at least this,
	reserveMaxPart = 4        // and never more than this fraction of the node
)

// ReserveBytes returns the free memory to keep on a node of totalBytes: 2 %,
// at least 64 MiB, and at most a quarter of the node.
//
// Two per cent stands well above the kernel's high watermark, which is about
// 0.2 % plus min_free_kbytes at the default watermark_scale_factor (sysctl
// vm), so that moving pages wakes no reclaim and leaves the server memory to
// grow into. The minimum serves small nodes, where the watermarks weigh more;
// the quarter keeps it from closing a very small node altogether.
func ReserveBytes(totalBytes uint64) uint64 {
	return min(max(totalBytes/reserveDivisor, reserveMin), totalBytes/reserveMaxPart)
}
