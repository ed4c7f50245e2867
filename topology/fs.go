package topology

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"numa-agent/internal/linux"
)

var (
	// ErrProcessGone is returned for a process that does not exist (any more),
	// which is also how one that /proc hides looks (proc(5), hidepid). A zombie
	// counts as gone: its memory is.
	ErrProcessGone = errors.New("process is gone")
	// ErrNoNUMA is returned where the kernel is built without NUMA support and
	// so does not tell where memory lies.
	ErrNoNUMA = errors.New("kernel without NUMA support")
	// ErrNoListener is returned when nobody listens on an address.
	ErrNoListener = errors.New("nobody listens there")
)

// FS is where /proc and /sys are mounted.
type FS struct{ proc, sys string }

// NewFS returns the FS with these mount points.
func NewFS(procMount, sysMount string) FS { return FS{proc: procMount, sys: sysMount} }

// DefaultFS returns the FS with the usual mount points.
func DefaultFS() FS { return NewFS("/proc", "/sys") }

// procPath is the path of a file of process pid.
func (f FS) procPath(pid int, elem ...string) string {
	return filepath.Join(append([]string{f.proc, strconv.Itoa(pid)}, elem...)...)
}

// processError turns what the kernel answers for a vanished process into
// ErrProcessGone: ENOENT before a file is opened, ESRCH after.
func processError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, linux.ESRCH) {
		return ErrProcessGone
	}
	return err
}
