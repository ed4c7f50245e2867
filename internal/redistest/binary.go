package redistest

import (
	"os"
	"os/exec"
	"testing"

	"numa-agent/internal/debroot"
)

// command returns redis-server 7.0, of Debian bookworm: in the lab the one
// that is installed there, elsewhere one that is unpacked from its package.
func command(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	if os.Getenv("NUMALAB") != "" {
		return exec.CommandContext(tb.Context(), "redis-server", args...)
	}
	root, err := debroot.Ensure(tb.Context(), debroot.Spec{Suite: "bookworm", Packages: []string{"redis-server"}})
	if err != nil {
		tb.Fatal(err)
	}
	cmd, err := debroot.Command(tb.Context(), root, "usr/bin/redis-server", args...)
	if err != nil {
		tb.Fatal(err)
	}
	return cmd
}
