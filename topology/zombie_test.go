package topology

import (
	"bufio"
	"errors"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestZombie: a server that ended and whose parent has not waited for it, as
// happens in containers, still has its name in /proc.
func TestZombie(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `printf redis-server > /proc/$$/comm; echo; read -r _`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	pid, sys := cmd.Process.Pid, DefaultFS()
	listed := func() bool {
		servers, err := sys.Servers()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(servers, func(p Process) bool { return p.PID == pid })
	}
	if !listed() {
		t.Error("the living one is not listed")
	}
	stdin.Close()
	// WNOWAIT leaves it a zombie (waitid(2)).
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if listed() {
		t.Error("the zombie is listed")
	}
	for name, do := range map[string]func() error{
		"Process":   func() error { _, err := sys.Process(pid); return err },
		"NumaMaps":  func() error { _, err := sys.NumaMaps(pid); return err },
		"PageNodes": func() error { return PageNodes(pid, make([]uint64, 1), make([]int32, 1)) },
	} {
		if err := do(); !errors.Is(err, ErrProcessGone) {
			t.Errorf("%s: %v, want ErrProcessGone", name, err)
		}
	}
}
