package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxIovecs is the most segments one ReadProcess call takes: the kernel
// refuses longer vectors (UIO_MAXIOV, include/uapi/linux/uio.h).
const MaxIovecs = 1024

// Iovec is one address range in a foreign process: struct iovec.
type Iovec struct {
	Addr uint64 // first byte
	Len  uint64 // bytes
}

// ReadProcess copies the remote ranges of process pid, one after the other,
// into local and returns how many bytes arrived. The kernel stops at the first
// page it cannot read, so a short count means: the byte after the count is not
// readable (process_vm_readv(2)). An error means nothing was read at all.
func ReadProcess(pid int, local []byte, remote []Iovec) (int, error) {
	if len(remote) == 0 || len(local) == 0 {
		return 0, nil
	}
	if len(remote) > MaxIovecs {
		return 0, fmt.Errorf("calling process_vm_readv: %d segments, limit %d: %w", len(remote), MaxIovecs, unix.EINVAL)
	}
	liov := unix.Iovec{Base: unsafe.SliceData(local), Len: uint64(len(local))}
	n, _, errno := unix.Syscall6(unix.SYS_PROCESS_VM_READV,
		uintptr(pid),
		uintptr(unsafe.Pointer(&liov)), 1,
		uintptr(unsafe.Pointer(unsafe.SliceData(remote))), uintptr(len(remote)),
		0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
