package agent

import (
	"context"
	"fmt"
	"time"
)

// identify makes sure that the target is still the server that was found, and
// is in a state in which its memory can be read.
func (a *Agent) identify(ctx context.Context) error {
	if !a.target.Alive() {
		return fmt.Errorf("%w: pid %d ended", ErrTarget, a.target.PID)
	}
	info, err := a.target.ReadInfo(ctx)
	if err != nil {
		return err
	}
	if info.RunID != a.target.Info.RunID {
		return fmt.Errorf("%w: another server (run_id %s) answers in place of the one found (%s): run again", ErrTarget, info.RunID, a.target.Info.RunID)
	}
	if info.Loading {
		return fmt.Errorf("%w: the server is loading its data: run again when it is done", ErrTarget)
	}
	a.target.Info = info
	if a.process, err = a.sys.Process(a.target.PID); err != nil {
		return processError(fmt.Sprintf("looking at pid %d", a.target.PID), err)
	}
	if a.process.StartTicks != a.target.StartTicks {
		return fmt.Errorf("%w: pid %d is another process by now: run again", ErrTarget, a.target.PID)
	}
	if a.machine, err = a.sys.Machine(); err != nil { // free memory changes
		return fmt.Errorf("reading the machine's topology: %w", err)
	}
	if a.process.AllowedNodes.Len() == 0 { // a kernel without cpusets allows all
		a.process.AllowedNodes = a.nodes()
	}
	return nil
}

// How long a fork child is waited for.
const (
	childWait = time.Minute
	childPoll = 500 * time.Millisecond
)

// waitForChild waits until no child of the server (BGSAVE, AOF rewrite)
// shares its pages: while one does, a move would have to move its pages too.
func (a *Agent) waitForChild(ctx context.Context) error {
	for deadline := time.Now().Add(childWait); ; {
		info, err := a.target.ReadInfo(ctx)
		if err != nil {
			return err
		}
		if !info.Child {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: a BGSAVE or AOF rewrite shares the server's pages for over %v: run again when it is done", ErrPartial, childWait)
		}
		a.log.Info("waiting for the server's child process to end")
		if err := sleep(ctx, childPoll); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
