package linux

import (
	"errors"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errnos the other packages tell apart, so that they need not import unix.
const (
	EBUSY  = unix.EBUSY
	EACCES = unix.EACCES
	EPERM  = unix.EPERM
	ESRCH  = unix.ESRCH
	ENOENT = unix.ENOENT
	EFAULT = unix.EFAULT
	ENOMEM = unix.ENOMEM
	ENODEV = unix.ENODEV
	EINVAL = unix.EINVAL
	EINTR  = unix.EINTR
	ENOSYS = unix.ENOSYS
)

// ErrnoName returns the symbolic name of a negative status of move_pages(2)
// ("EBUSY" for -16), or the bare number where the kernel uses one without a
// name. The set of results is bounded by the kernel's errno range.
func ErrnoName(status int32) string {
	if name := unix.ErrnoName(syscall.Errno(-status)); name != "" {
		return name
	}
	return strconv.Itoa(int(status))
}

// IsPermission reports whether err is the kernel refusing access: EPERM or
// EACCES.
func IsPermission(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}
