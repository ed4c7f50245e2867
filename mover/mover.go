package mover

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"numa-agent/internal/linux"
)

// Move is one page and where it should go.
type Move struct {
	Addr uint64 // of its first byte, in the target
	Size uint64 // in bytes, as planned
	From int16  // node it was on when the move was planned
	To   int16  // node it should be on
}

// Target is the process whose pages move.
type Target struct {
	PID int

	// Alive reports whether PID is still the process that was meant; it is
	// asked before each call, so that nothing is done to a process that took
	// over the number. A pidfd answers it.
	Alive func() bool
}

// Kernel is move_pages(2), with the contract of linux.MovePages.
type Kernel interface {
	MovePages(pid int, pages []uint64, nodes, status []int32, flags int) (int, error)
}

// Linux is the kernel this process runs on.
type Linux struct{}

// MovePages implements Kernel.
func (Linux) MovePages(pid int, pages []uint64, nodes, status []int32, flags int) (int, error) {
	return linux.MovePages(pid, pages, nodes, status, flags)
}

// Mover moves pages. It holds no state of a run, so that several may go on at
// once.
type Mover struct {
	kernel Kernel
	cfg    Config
}

// New returns a Mover, or what is wrong with cfg.
func New(k Kernel, cfg Config) (*Mover, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configuring mover: %w", err)
	}
	return &Mover{kernel: k, cfg: cfg}, nil
}

// Run moves pages of the target and returns what became of each. It sorts
// moves in place, by target node and address. Each page must be in moves once.
// If progress is not nil, Run calls it after each batch.
//
// Each batch is asked about first and only the pages that are elsewhere are
// submitted: a page already in place makes the kernel flush what it has
// gathered so far (mm/migrate.c, do_pages_move). Pages that were busy are
// tried again once all others are done, up to Config.Retries times. A node
// that runs out of memory gets no further pages, which is no error: the result
// tells. At the end the kernel is asked where all pages are.
//
// Run ends early, with a Result that is complete so far, when
//   - ctx is done: after the current call, with the error of ctx;
//   - the target is gone: with an error that is topology.ErrProcessGone;
//   - the kernel refuses a whole call: with an error that says what to do,
//     which is fs.ErrPermission where permission lacks.
func (m *Mover) Run(ctx context.Context, target Target, moves []Move, progress func(Progress)) (Result, error) {
	start := time.Now()
	slices.SortFunc(moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Addr, b.Addr))
	})
	size := min(len(moves), m.cfg.BatchPages)
	r := &run{
		kernel:   m.kernel,
		cfg:      m.cfg,
		target:   target,
		progress: progress,
		result:   Result{Submitted: len(moves), Failed: make(map[string]int)},
		full:     make(map[int16]bool),
		batch:    make([]Move, 0, size),
		pages:    make([]uint64, size),
		nodes:    make([]int32, size),
		status:   make([]int32, size),
		where:    make([]int32, size),
	}
	err := r.moveAll(ctx, moves)
	if err == nil {
		err = r.verify(ctx, moves)
	}
	r.result.Duration = time.Since(start)
	return r.result, err
}
