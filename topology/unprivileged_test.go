package topology

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// TestProcessOfAnotherUser: what the links of a process say is for its user
// alone, the rest for all (proc(5)). The test runs itself as another user.
func TestProcessOfAnotherUser(t *testing.T) {
	const env = "TOPOLOGY_TEST_PID"
	if pid, err := strconv.Atoi(os.Getenv(env)); err == nil {
		p, err := DefaultFS().Process(pid)
		if err != nil || p.PID != pid || p.Exe != "" || p.UIDs.Real != 0 || len(p.Cmdline) == 0 {
			t.Errorf("%+v, %v, want all but the executable", p, err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessOfAnotherUser$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env+"="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}
