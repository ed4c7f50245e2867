package linux_test

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"numa-agent/internal/linux"
)

// TestPidFDZombie: a process that nobody waited for yet has no memory.
func TestPidFDZombie(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	fd, err := linux.OpenPidFD(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	// WNOWAIT leaves it a zombie (waitid(2)).
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if fd.Alive() {
		t.Error("a zombie is alive")
	}
}
