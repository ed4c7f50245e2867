package linux

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The calls of this file are those of a machine's first process.

// ReapChild waits for any child to end and returns its pid and its exit
// status: the code it exited with, or 128 plus the number of the signal that
// ended it, as a shell counts (wait4(2)). Children started through os/exec
// must not be waited for elsewhere at the same time.
func ReapChild() (pid, status int, err error) {
	var ws unix.WaitStatus
	for {
		pid, err = unix.Wait4(-1, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("waiting for a child: %w", err)
	}
	if ws.Signaled() {
		return pid, 128 + int(ws.Signal()), nil
	}
	return pid, ws.ExitStatus(), nil
}

// KillAll kills every process but the caller and pid 1 (kill(2), pid -1). It
// refuses outside pid 1, where it would end whatever the user runs.
func KillAll() error {
	if unix.Getpid() != 1 {
		return fmt.Errorf("killing all processes: the caller is not pid 1: %w", unix.EPERM)
	}
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing all processes: %w", err)
	}
	return nil
}

// PowerOff switches the machine off at once (reboot(2)). Like KillAll it
// refuses outside pid 1.
func PowerOff() error {
	if unix.Getpid() != 1 {
		return fmt.Errorf("powering off: the caller is not pid 1: %w", unix.EPERM)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
