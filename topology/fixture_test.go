package topology

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOneNodeFixture: the bytes were summed by other means, and agree with the
// Rss of smaps_rollup but for one page.
func TestOneNodeFixture(t *testing.T) {
	sys := fixture("linux-6.18-1node")
	m, err := sys.Machine()
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{Nodes: []Node{{ID: 0, CPUs: NewIDSet(0, 1), Distances: map[int]int{0: 10},
		MemTotalBytes: 7432396 << 10, MemFreeBytes: 6376096 << 10}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	maps, err := sys.NumaMaps(100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]uint64{0: 27533312}, BytesByNode(maps)); diff != "" || len(maps) != 119 {
		t.Errorf("%d mappings, bytes by node %s", len(maps), diff)
	}
}

func TestNodeWithoutMemory(t *testing.T) {
	tree := fakeTree(t, map[string]string{
		"devices/system/node/online":         "1\n",
		"devices/system/node/node1/cpulist":  "0-1\n",
		"devices/system/node/node1/distance": "10\n",
		"devices/system/node/node1/meminfo":  "Node 1 MemTotal:       0 kB\nNode 1 MemFree:        0 kB\n",
	}, nil)
	m, err := NewFS("", tree.proc).Machine()
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{Nodes: []Node{{ID: 1, CPUs: NewIDSet(0, 1), Distances: map[int]int{1: 10}}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}
