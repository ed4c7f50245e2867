package topology

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture is a tree of files under testdata/fixtures.
func fixture(name string) FS {
	dir := filepath.Join("testdata/fixtures", name)
	return NewFS(filepath.Join(dir, "proc"), filepath.Join(dir, "sys"))
}

func TestMachine(t *testing.T) {
	for name, want := range map[string]Machine{
		"debian-6.1-2nodes": {Nodes: []Node{
			{ID: 0, CPUs: NewIDSet(0), Distances: map[int]int{0: 10, 1: 21}, MemTotalBytes: 482228 << 10, MemFreeBytes: 418100 << 10},
			{ID: 1, CPUs: NewIDSet(1), Distances: map[int]int{0: 21, 1: 10}, MemTotalBytes: 514504 << 10, MemFreeBytes: 471484 << 10},
		}},
		"holes": {Nodes: []Node{
			{ID: 0, CPUs: NewIDSet(0, 1, 2, 3), Distances: map[int]int{0: 10, 2: 20, 8: 40}, MemTotalBytes: 8 << 30, MemFreeBytes: 1000 << 10},
			{ID: 2, CPUs: NewIDSet(4, 5, 6, 7), Distances: map[int]int{0: 20, 2: 10, 8: 30}, MemTotalBytes: 8 << 30, MemFreeBytes: 1002 << 10},
			{ID: 8, Distances: map[int]int{0: 40, 2: 30, 8: 10}, MemTotalBytes: 8 << 30, MemFreeBytes: 1008 << 10},
		}},
		"no-numa": {Nodes: []Node{
			{ID: 0, CPUs: NewIDSet(0, 1), Distances: map[int]int{0: 10}, MemTotalBytes: 2 << 20, MemFreeBytes: 1 << 20},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fixture(name).Machine()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNodeWithoutCPUs(t *testing.T) {
	m, err := fixture("debian-6.1-4nodes-1-without-cpus").Machine()
	if err != nil {
		t.Fatal(err)
	}
	last, ok := m.Node(3)
	if !ok || last.CPUs.Len() != 0 || last.MemTotalBytes == 0 || last.Distances[0] != 21 {
		t.Errorf("node 3: %+v", last)
	}
	if node, ok := m.NodeOfCPU(2); node != 2 || !ok {
		t.Errorf("CPU 2 is on node %d", node)
	}
	if _, ok := m.NodeOfCPU(9); ok || m.HasNode(9) {
		t.Error("CPU 9 or node 9 exists")
	}
	if got := m.NodesOfCPUs(NewIDSet(0, 2, 9)); !got.Equal(NewIDSet(0, 2)) {
		t.Errorf("CPUs 0 and 2 are on nodes %v", got)
	}
}

func TestParseDistances(t *testing.T) {
	online := NewIDSet(0, 4)
	got, err := parseDistances(strings.NewReader("10 21\n"), online)
	if diff := cmp.Diff(map[int]int{0: 10, 4: 21}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, text := range []string{"", "10", "10 20 30", "10 x", "10 -1", "10 99999999999"} {
		if _, err := parseDistances(strings.NewReader(text), online); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	for _, text := range []string{"", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemFree: 1 kB\n", "MemTotal: 99999999999999999999 kB\nMemFree: 1 kB"} {
		if total, free, err := parseMeminfo(strings.NewReader(text)); err == nil {
			t.Errorf("%q is %d and %d", text, total, free)
		}
	}
}

func FuzzParseMeminfo(f *testing.F) {
	f.Add("Node 0 MemTotal: 8 kB\nNode 0 MemFree: 4 kB\n")
	f.Add("MemTotal: 18014398509481984 kB\nMemFree: 0 kB")
	f.Fuzz(func(t *testing.T, text string) {
		if total, free, err := parseMeminfo(strings.NewReader(text)); err == nil && (total%1024 != 0 || free%1024 != 0) {
			t.Errorf("%d and %d bytes", total, free)
		}
	})
}

func FuzzParseDistances(f *testing.F) {
	f.Add("10 21")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDistances(strings.NewReader(text), NewIDSet(0, 3))
		if err == nil && (len(got) != 2 || got[0] < 0 || got[3] < 0) {
			t.Errorf("%v", got)
		}
	})
}
