package redistest

import (
	"os/exec"
	"testing"
)

func command(tb testing.TB, args ...string) *exec.Cmd {
	return exec.Command("redis-server", args...)
}
