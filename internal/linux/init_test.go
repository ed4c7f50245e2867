package linux

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestReapChild(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         int
	}{
		{"code", "exit 7", 7},
		{"signal", "kill -KILL $$", 128 + 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tt.script)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid, status, err := ReapChild()
			if err != nil || pid != cmd.Process.Pid || status != tt.want {
				t.Errorf("ReapChild() = %d, %d, %v, want %d, %d", pid, status, err, cmd.Process.Pid, tt.want)
			}
		})
	}
}

func TestOnlyPidOneEndsTheMachine(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this process is pid 1, where the calls would be carried out")
	}
	if err := KillAll(); !errors.Is(err, EPERM) {
		t.Errorf("KillAll() = %v, want EPERM", err)
	}
	if err := PowerOff(); !errors.Is(err, EPERM) {
		t.Errorf("PowerOff() = %v, want EPERM", err)
	}
}
