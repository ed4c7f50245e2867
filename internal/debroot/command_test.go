package debroot

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ensure returns a root of real packages.
func ensure(t *testing.T, suite string, packages ...string) string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("this takes Debian: %v", err)
	}
	root, err := Ensure(t.Context(), Spec{Suite: suite, Packages: packages})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// Whatever the machine's own suite is, one of the two differs from it.
func TestCommand(t *testing.T) {
	tuple, _ := machine()
	libc := filepath.Join("/lib", tuple, "libc.so.6")
	host, err := glibcVersion(libc)
	if err != nil {
		t.Skipf("this machine's C library is not where Debian has it: %v", err)
	}
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			root := ensure(t, suite, "numactl")
			wanted, err := glibcVersion(filepath.Join(root, libc))
			if err != nil {
				t.Fatal(err)
			}
			cmd, err := Command(t.Context(), root, "usr/bin/numactl", "--show")
			if err != nil {
				t.Fatal(err)
			}
			itself := cmd.Path == filepath.Join(root, "usr/bin/numactl")
			if itself != (host == wanted) {
				t.Errorf("glibc %s on a machine with %s: runs %s", wanted, host, cmd.Path)
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "policy:") {
				t.Errorf("running %s: %v\n%s", cmd, err, out)
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	root := t.TempDir()
	if _, err := Command(t.Context(), root, "usr/bin/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing program: %v, want %v", err, fs.ErrNotExist)
	}
	if err := os.WriteFile(filepath.Join(root, "program"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Command(t.Context(), root, "program"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "C library") {
		t.Errorf("missing libc: %v, want that the C library does not exist", err)
	}
	torn := filepath.Join(root, "torn")
	if err := os.WriteFile(torn, []byte("\x7fELF torn"), 0o755); err != nil {
		t.Fatal(err)
	}
	if version, err := glibcVersion(torn); err == nil {
		t.Errorf("torn library: version %q, want an error", version)
	}
}
