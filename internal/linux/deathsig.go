package linux

import "syscall"

// DieWithParent returns the attributes of a child that the kernel kills when
// the thread that started it ends, however it ends (PR_SET_PDEATHSIG,
// prctl(2)). The child has a process group of its own, so that a terminal's
// Ctrl-C reaches only the parent, which then ends the child in its own way.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
