package mover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"numa-agent/internal/linux"
	"numa-agent/topology"
)

const (
	busyStatus = -int32(linux.EBUSY)
	smallPage  = 4096 // bytes; the unit of Config.BatchPages
)

// run is the state of one Run.
type run struct {
	kernel   Kernel
	cfg      Config
	target   Target
	progress func(Progress)
	result   Result
	done     int // pages accounted for in result

	retrying bool           // the pages at hand have been submitted before
	busy     []Move         // pages to try again
	full     map[int16]bool // nodes that ran out of memory
	batch    []Move         // pages being submitted

	// What the kernel reads and writes, an element for each page of a call.
	pages                []uint64
	nodes, status, where []int32
}

// moveAll settles every page of moves: one pass over all of them, then one
// over the busy ones for each retry.
func (r *run) moveAll(ctx context.Context, moves []Move) error {
	err := r.pass(ctx, moves)
	pause := r.cfg.RetryPause
	for range r.cfg.Retries {
		if err != nil || len(r.busy) == 0 {
			break
		}
		if err = wait(ctx, pause); err != nil {
			break
		}
		pause *= 2
		pending := r.busy
		r.busy, r.retrying = nil, true
		err = r.pass(ctx, pending)
	}
	r.fail(linux.ErrnoName(busyStatus), len(r.busy))
	r.report()
	return err
}

// pass goes through pending batch by batch. When it returns, each page of
// pending is accounted for or in r.busy.
func (r *run) pass(ctx context.Context, pending []Move) error {
	for len(pending) > 0 {
		if err := ctx.Err(); err != nil {
			r.leave(len(pending))
			return err
		}
		batch := pending[:r.batchLen(pending)]
		pending = pending[len(batch):]
		calls := r.result.Calls
		if err := r.move(ctx, batch); err != nil {
			r.leave(len(pending))
			return err
		}
		r.report()
		if r.result.Calls > calls && len(pending) > 0 {
			if err := wait(ctx, r.cfg.Pause); err != nil {
				r.leave(len(pending))
				return err
			}
		}
	}
	return nil
}

// batchLen returns how many of moves, from the first, make one batch: pages
// for one node, within the limit on pages and on their bytes.
func (r *run) batchLen(moves []Move) int {
	bytes := moves[0].Size
	limit := uint64(r.cfg.BatchPages) * smallPage
	n := 1
	for n < len(moves) && n < r.cfg.BatchPages && moves[n].To == moves[0].To && bytes+moves[n].Size <= limit {
		bytes += moves[n].Size
		n++
	}
	return n
}

// move accounts for the pages of one batch or puts them in r.busy. An error
// ends the run.
func (r *run) move(ctx context.Context, batch []Move) error {
	r.batch = r.batch[:0]
	if r.retrying {
		r.batch = append(r.batch, batch...)
	} else if err := r.pick(ctx, batch); err != nil {
		r.leave(len(batch))
		return err
	}
	switch {
	case len(r.batch) == 0:
		return nil
	case r.full[batch[0].To]:
		r.leave(len(r.batch))
		return nil
	}
	return r.submit(ctx)
}

// pick puts the pages of batch that are elsewhere in r.batch and accounts for
// the others.
func (r *run) pick(ctx context.Context, batch []Move) error {
	where, err := r.ask(ctx, batch)
	if err != nil {
		return err
	}
	for i, mv := range batch {
		switch node := where[i]; {
		case node == int32(mv.To):
			r.result.AlreadyThere++
			r.done++
		case failed(node):
			r.fail(linux.ErrnoName(node), 1)
		default:
			r.batch = append(r.batch, mv)
		}
	}
	return nil
}

// submit has the kernel move the pages of r.batch, which are all for one node,
// and judges each by its status. The count that the call returns says only
// that the statuses are not the whole story; then the kernel is asked again.
func (r *run) submit(ctx context.Context) error {
	to := int32(r.batch[0].To)
	nodes := r.nodes[:len(r.batch)]
	for i := range nodes {
		nodes[i] = to
	}
	status := r.status[:len(r.batch)]
	if r.retrying {
		r.result.Retried += len(r.batch)
	}
	left, callErr := r.call(ctx, r.batch, nodes, status)
	if left != 0 || callErr != nil || slices.Contains(status, linux.StatusUnset) {
		where, err := r.ask(ctx, r.batch)
		if err != nil {
			r.fail(linux.ErrnoName(linux.Status(err)), len(r.batch))
			return err
		}
		for i := range status {
			switch {
			case where[i] == to || failed(where[i]):
				status[i] = where[i]
			case failed(status[i]):
				// Elsewhere, and the kernel said why.
			default:
				status[i] = linux.Status(callErr) // StatusUnset if the call as a whole did not fail
			}
		}
	}
	r.judge(status)
	if errors.Is(callErr, linux.ENOMEM) {
		// The kernel has tried to reclaim memory on the node, which is slow,
		// and failed: more pages would only stall the target again.
		r.full[r.batch[0].To] = true
		return nil
	}
	return callErr
}

// judge accounts for the pages of r.batch by their statuses: moved, busy or
// failed for good. Pages that are neither moved nor have an errno are busy
// too, and go before those with EBUSY: for a page that it finds busy, the
// kernel first migrates the pages gathered so far, and gives up on all that
// follow if one of these does not migrate (mm/migrate.c, do_pages_move). So at
// the second try such a page no longer stands before one never tried.
func (r *run) judge(status []int32) {
	for i, mv := range r.batch {
		switch st := status[i]; {
		case st == int32(mv.To):
			r.result.MovedPages++
			r.result.MovedBytes += mv.Size
			r.done++
		case !failed(st):
			r.busy = append(r.busy, mv)
		case st != busyStatus:
			r.fail(linux.ErrnoName(st), 1)
		}
	}
	for i, mv := range r.batch {
		if status[i] == busyStatus {
			r.busy = append(r.busy, mv)
		}
	}
}

// verify asks where the pages of moves are now.
func (r *run) verify(ctx context.Context, moves []Move) error {
	for batch := range slices.Chunk(moves, r.cfg.BatchPages) {
		if err := ctx.Err(); err != nil {
			r.result.OnTarget, r.result.OffTarget = 0, 0
			return err
		}
		where, err := r.ask(ctx, batch)
		if err != nil {
			r.result.OnTarget, r.result.OffTarget = 0, 0
			return err
		}
		for i, mv := range batch {
			if where[i] == int32(mv.To) {
				r.result.OnTarget++
			} else {
				r.result.OffTarget++
			}
		}
	}
	return nil
}

// ask returns the status of each page of moves, moving none.
func (r *run) ask(ctx context.Context, moves []Move) ([]int32, error) {
	where := r.where[:len(moves)]
	_, err := r.call(ctx, moves, nil, where)
	return where, err
}

// call calls move_pages, again if a signal interrupts it, and explains its
// errors. Pages that the kernel does not get to have the status StatusUnset.
func (r *run) call(ctx context.Context, moves []Move, nodes, status []int32) (left int, err error) {
	pages := r.pages[:len(moves)]
	for i, mv := range moves {
		pages[i] = mv.Addr
	}
	flags := 0
	switch {
	case nodes == nil:
	case r.cfg.Shared:
		flags = linux.MoveShared
	default:
		flags = linux.MoveOwned
	}
	for {
		for i := range status {
			status[i] = linux.StatusUnset
		}
		if !r.target.Alive() {
			return 0, fmt.Errorf("moving pages of pid %d: %w: %w", r.target.PID, topology.ErrProcessGone, linux.ESRCH)
		}
		start := time.Now()
		left, err = r.kernel.MovePages(r.target.PID, pages, nodes, status, flags)
		if nodes != nil {
			r.result.Calls++
			r.result.LongestCall = max(r.result.LongestCall, time.Since(start))
		}
		switch {
		case err == nil:
			return left, nil
		case !errors.Is(err, linux.EINTR):
			return 0, r.explain(err, nodes)
		case ctx.Err() != nil:
			return 0, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// explain adds to the error of a whole call what it means and what to do.
// Which errno means what: man 2 move_pages; mm/migrate.c, kernel_move_pages,
// find_mm_struct and do_pages_move.
func (r *run) explain(err error, nodes []int32) error {
	pid := r.target.PID
	doing := fmt.Sprintf("asking where pages of pid %d are", pid)
	if nodes != nil {
		doing = fmt.Sprintf("moving pages of pid %d to node %d", pid, nodes[0])
	}
	switch {
	case errors.Is(err, linux.ESRCH), errors.Is(err, linux.EINVAL): // EINVAL: it is exiting and has no memory any more
		return fmt.Errorf("%s: %w: %w", doing, topology.ErrProcessGone, err)
	case errors.Is(err, linux.EPERM) && nodes != nil && r.cfg.Shared:
		return fmt.Errorf("%s: %w: moving shared pages needs CAP_SYS_NICE in the initial user namespace", doing, err)
	case errors.Is(err, linux.EPERM):
		return fmt.Errorf("%s: %w: run as its uid and gid or with CAP_SYS_PTRACE, and let the seccomp profile allow move_pages", doing, err)
	case errors.Is(err, linux.EACCES):
		return fmt.Errorf("%s: %w: the node is outside its cpuset; see Mems_allowed_list in /proc/%d/status", doing, err, pid)
	case errors.Is(err, linux.ENODEV):
		return fmt.Errorf("%s: %w: the node does not exist or has no memory", doing, err)
	case errors.Is(err, linux.ENOSYS):
		return fmt.Errorf("%s: %w: the kernel has no move_pages, or the seccomp profile hides it", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// failed reports whether status is an errno.
func failed(status int32) bool { return status < 0 && status != linux.StatusUnset }

// fail counts pages that are given up.
func (r *run) fail(name string, pages int) {
	if pages > 0 {
		r.result.Failed[name] += pages
		r.done += pages
	}
}

// leave counts pages that are not submitted now and will not be.
func (r *run) leave(pages int) {
	if r.retrying {
		r.fail(linux.ErrnoName(busyStatus), pages)
	} else {
		r.fail(NotAttempted, pages)
	}
}

func (r *run) report() {
	if r.progress != nil {
		r.progress(Progress{
			Done:       r.done,
			Total:      r.result.Submitted,
			MovedPages: r.result.MovedPages,
			MovedBytes: r.result.MovedBytes,
		})
	}
}

// wait waits for d, or until ctx is done: then it returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
