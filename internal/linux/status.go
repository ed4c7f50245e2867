package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Status returns the errno that err is or wraps as the kernel would report it
// for a single page: negative, so that ErrnoName names it. It returns
// StatusUnset if err holds no errno.
func Status(err error) int32 {
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		return -int32(errno)
	}
	return StatusUnset
}
