package numalab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

// unpackAll reads an archive back: name to type, mode and content.
func unpackAll(t *testing.T, archive io.Reader) map[string]string {
	t.Helper()
	found := map[string]string{}
	reader := cpio.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = fmt.Sprintf("%o %s%s", header.Mode, header.Linkname, content)
	}
}

func TestImage(t *testing.T) {
	host := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "dir/a": 0o600, "dir/sub/b": 0o644} {
		path := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b", filepath.Join(host, "dir/link")); err != nil {
		t.Fatal(err)
	}
	m := newImage()
	m.file("/etc/hosts", []byte("first"))
	m.file("/etc/hosts", []byte("second"))
	m.link("/bin/tool", "elsewhere")
	for _, file := range []File{
		{filepath.Join(host, "tool"), "/bin/tool"},
		{filepath.Join(host, "dir"), "/deep/down/../er"},
		{filepath.Join(host, "dir/link"), "/followed"},
	} {
		if err := m.add(file); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	if err := m.pack(&packed); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"dev": "40755 ", "etc": "40755 ", "proc": "40755 ", "root": "40755 ",
		"run": "40755 ", "sys": "40755 ", "tmp": "40755 ", "var": "40755 ",
		"usr": "40755 ", "usr/bin": "40755 ", "usr/lib": "40755 ", "usr/lib64": "40755 ", "usr/sbin": "40755 ",
		"bin": "120777 usr/bin", "lib": "120777 usr/lib", "lib64": "120777 usr/lib64", "sbin": "120777 usr/sbin",
		"etc/hosts":     "100644 second",
		"usr/bin/tool":  "100755 tool",
		"deep":          "40755 ",
		"deep/er":       "40755 ",
		"deep/er/a":     "100600 dir/a",
		"deep/er/link":  "120777 sub/b",
		"deep/er/sub":   "40755 ",
		"deep/er/sub/b": "100644 dir/sub/b",
		"followed":      "100644 dir/sub/b",
	}
	if diff := cmp.Diff(want, unpackAll(t, &packed)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestImageRefusesSpecialFiles(t *testing.T) {
	if err := newImage().add(File{os.DevNull, "/null"}); err == nil {
		t.Error("a device was taken for a file")
	}
	if err := newImage().add(File{filepath.Join(t.TempDir(), "none"), "/none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want that it does not exist", err)
	}
}

// A file that changes while it is packed must not shift those behind it.
func TestPackChangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("line one"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := newImage()
	if err := m.add(File{path, "/log"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("line one, line two"), 0o644); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := m.pack(&packed); err != nil {
		t.Fatal(err)
	}
	if got := unpackAll(t, &packed)["log"]; got != "100644 line one" {
		t.Errorf("grown file packed as %q", got)
	}
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if err := m.pack(io.Discard); !errors.Is(err, io.EOF) {
		t.Errorf("shrunk file: %v, want %v", err, io.EOF)
	}
}
