//go:build numalab

package mover

import (
	"os"
	"testing"

	"numa-agent/topology"
)

// TestLabThereAndBack moves memory of this process to node 1 and back to
// node 0 on a machine that has both.
func TestLabThereAndBack(t *testing.T) {
	const n = 4096
	moves, memory := touchedPages(n, 0)
	pages := make([]uint64, n)
	for i, mv := range moves {
		pages[i] = mv.Addr
	}
	m := newMover(t, Linux{}, DefaultConfig())
	nodes := make([]int32, n)
	for _, to := range []int16{1, 0, 1} {
		for i := range moves {
			moves[i].To = to
		}
		got, err := m.Run(t.Context(), self(), moves, nil)
		if err != nil {
			t.Fatalf("moving to node %d: %v", to, err)
		}
		t.Logf("to node %d: %+v", to, got)
		if got.OnTarget != n || got.MovedPages+got.AlreadyThere != n {
			t.Errorf("to node %d: %+v, want %d pages there", to, got, n)
		}
		if err := topology.PageNodes(os.Getpid(), pages, nodes); err != nil {
			t.Fatal(err)
		}
		for i, node := range nodes {
			if node != int32(to) {
				t.Errorf("page %d is on node %d, want %d", i, node, to)
			}
		}
	}
	for i, b := range memory {
		if b != byte(i) {
			t.Fatalf("byte %d changed", i)
		}
	}
}
