package numalab

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dynamic loader itself says what it would load.
func TestProgramAgreesWithLoader(t *testing.T) {
	const program = "/usr/bin/apt-get"
	list := exec.Command("ldd", program)
	out, err := list.Output()
	if err != nil {
		t.Skipf("asking the loader with %s: %v", list, err)
	}
	want := []string{filepath.Base(program)}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, "linux-vdso") {
			want = append(want, filepath.Base(name))
		}
	}
	files, err := Program("/", program)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		got = append(got, filepath.Base(file.Host))
		if file.Host != file.Guest {
			t.Errorf("%s goes to %s, want the same path", file.Host, file.Guest)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProgramWithoutLibraries(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"script": "#!/bin/sh\n", "short": "x", "empty": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := Program(root, "/"+name)
		if want := []File{{filepath.Join(root, name), "/" + name}}; err != nil || !slices.Equal(files, want) {
			t.Errorf("%s: %v, %v, want %v", name, files, err, want)
		}
	}
}

func TestProgramErrors(t *testing.T) {
	root := t.TempDir()
	if _, err := Program(root, "/none"); err == nil {
		t.Error("a missing program: no error")
	}
	if err := os.WriteFile(filepath.Join(root, "torn"), []byte("\x7fELF torn"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Program(root, "/torn"); err == nil {
		t.Error("a torn program: no error")
	}
	// A program of this machine in a root without its libraries.
	content, err := os.ReadFile("/usr/bin/apt-get")
	if err != nil {
		t.Skipf("no dynamic program at hand: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "program"), content, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Program(root, "/program"); err == nil || !strings.Contains(err.Error(), "is in none of") {
		t.Errorf("without libraries: %v, want which one is missing", err)
	}
}
