package mover

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"numa-agent/internal/linux"
)

// touchedPages returns n pages of this process that have memory, as moves to
// node to, and the slice they are in.
func touchedPages(n int, to int16) ([]Move, []byte) {
	memory := make([]byte, (n+1)*page)
	for i := range memory {
		memory[i] = byte(i)
	}
	first := (uint64(reflect.ValueOf(memory).Pointer()) + page - 1) &^ (page - 1)
	moves := make([]Move, n)
	for i := range moves {
		moves[i] = Move{Addr: first + uint64(i)*page, Size: page, To: to}
	}
	return moves, memory
}

func self() Target { return Target{PID: os.Getpid(), Alive: alive} }

func TestLinuxInPlace(t *testing.T) {
	moves, memory := touchedPages(600, 0)
	status := make([]int32, 1)
	if _, err := (Linux{}).MovePages(os.Getpid(), []uint64{moves[0].Addr}, nil, status, 0); err != nil {
		t.Fatalf("asking where a page of this process is: %v", err)
	}
	for i := range moves {
		moves[i].To = int16(status[0])
	}
	// The page at 4096 is below vm.mmap_min_addr, so nobody has it mapped.
	moves = append(moves, Move{Addr: page, Size: page, To: int16(status[0])})

	got, err := newMover(t, Linux{}, DefaultConfig()).Run(t.Context(), self(), moves, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Failed["EFAULT"] != 1 {
		t.Errorf("failed pages %v, want the unmapped one as EFAULT", got.Failed)
	}
	// Which node of several the other pages are on is the kernel's affair.
	if settled := got.AlreadyThere + got.MovedPages; settled != 600 || got.OnTarget != 600 || got.OffTarget != 1 {
		t.Errorf("%+v, want 600 pages in place", got)
	}
	if _, err := os.Stat("/sys/devices/system/node/node1"); err != nil && got.Calls != 0 {
		t.Errorf("%d calls that submit pages on a machine with one node, want 0", got.Calls)
	}
	for i, b := range memory {
		if b != byte(i) {
			t.Fatalf("byte %d changed", i)
		}
	}
}

func TestLinuxAbsentNode(t *testing.T) {
	const absent = 1000 // also above the 64 or 1024 nodes kernels are built for
	moves, _ := touchedPages(300, absent)
	got, err := newMover(t, Linux{}, DefaultConfig()).Run(t.Context(), self(), moves, nil)
	if !errors.Is(err, linux.ENODEV) || !strings.Contains(err.Error(), "node 1000") {
		t.Errorf("Run: %v, want ENODEV of node 1000", err)
	}
	want := Result{Submitted: 300, Calls: 1, Failed: map[string]int{"ENODEV": 256, NotAttempted: 44}}
	if diff := cmp.Diff(want, got, timeless, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Result (-want +got):\n%s", diff)
	}
}
