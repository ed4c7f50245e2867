package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StatusUnset pre-fills the status slice given to MovePages. The kernel
// reports nodes as values ≥ 0 and failures as negative errnos, so a page that
// still holds it after a call is one the kernel never got to.
const StatusUnset int32 = -1 << 31

// Flags of move_pages(2); include/uapi/linux/mempolicy.h.
const (
	MoveOwned  = unix.MPOL_MF_MOVE     // only pages mapped by the target alone
	MoveShared = unix.MPOL_MF_MOVE_ALL // pages shared with other processes too; needs CAP_SYS_NICE
)

// MovePages calls move_pages(2) on the process pid (0 is the caller). pages
// are page-aligned addresses in the target; nodes, when not nil, gives the
// node wanted for each; status receives, for each page, the node it is on or
// a negative errno. With nodes nil nothing moves and the call only asks.
//
// The returned count is the kernel's: on a positive count some pages were not
// moved and the statuses after the failing one are stale, so callers pre-fill
// status with StatusUnset and judge by status alone (mm/migrate.c,
// do_pages_move). An error is the errno of the whole call.
func MovePages(pid int, pages []uint64, nodes, status []int32, flags int) (int, error) {
	if len(pages) == 0 {
		return 0, nil
	}
	if len(status) != len(pages) || (nodes != nil && len(nodes) != len(pages)) {
		return 0, fmt.Errorf("calling move_pages: %d pages with %d nodes and %d statuses: %w",
			len(pages), len(nodes), len(status), unix.EINVAL)
	}
	n, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES,
		uintptr(pid), uintptr(len(pages)),
		uintptr(unsafe.Pointer(unsafe.SliceData(pages))),
		uintptr(unsafe.Pointer(unsafe.SliceData(nodes))),
		uintptr(unsafe.Pointer(unsafe.SliceData(status))),
		uintptr(flags))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
