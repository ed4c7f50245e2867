package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// PidFD refers to one process for as long as it is open, whatever becomes of
// its number: the guard against acting on a reused pid (pidfd_open(2)).
type PidFD struct{ fd int }

// OpenPidFD opens a reference to the process that has pid now.
func OpenPidFD(pid int) (*PidFD, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("opening pidfd of pid %d: %w", pid, err)
	}
	return &PidFD{fd: fd}, nil
}

// Alive reports whether the process still runs. A zombie counts as gone: its
// memory is.
func (p *PidFD) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 0
	}
}

// Close releases the reference.
func (p *PidFD) Close() error { return unix.Close(p.fd) }
