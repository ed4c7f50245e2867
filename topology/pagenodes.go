package topology

import (
	"errors"
	"fmt"
	"io/fs"

	"numa-agent/internal/linux"
)

// queryBatch is how many pages one call asks for. The kernel itself works in
// small chunks (mm/migrate.c, do_pages_stat), so larger batches win nothing.
const queryBatch = 4096

// PageNodes asks the kernel where pages of a process lie: for each
// page-aligned address, nodes receives the node or a negative errno, -ENOENT
// for a page that is not resident, -EFAULT for an address that is not mapped
// (move_pages(2)). Nothing moves.
func PageNodes(pid int, pages []uint64, nodes []int32) error {
	if len(pages) != len(nodes) {
		return fmt.Errorf("asking where %d pages lie with room for %d answers", len(pages), len(nodes))
	}
	for i := range nodes {
		nodes[i] = linux.StatusUnset
	}
	for len(pages) > 0 {
		n := min(len(pages), queryBatch)
		_, err := linux.MovePages(pid, pages[:n], nil, nodes[:n], 0)
		if errors.Is(err, linux.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("asking where pages of pid %d lie: %w", pid, pageError(err))
		}
		pages, nodes = pages[n:], nodes[n:]
	}
	return nil
}

// pageError says what an errno of move_pages(2) means to an operator.
func pageError(err error) error {
	switch {
	case linux.IsPermission(err):
		return fmt.Errorf("%w: run as the server's own uid and gid or with CAP_SYS_PTRACE; in a container the seccomp profile must allow move_pages", fs.ErrPermission)
	case errors.Is(err, linux.ESRCH), errors.Is(err, linux.EINVAL): // EINVAL: it has no memory any more
		return ErrProcessGone
	case errors.Is(err, linux.ENOSYS):
		return ErrNoNUMA
	}
	return err
}
