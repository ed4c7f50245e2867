package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	for _, step := range []struct {
		name string
		file *os.File
		want bool
	}{
		{"free", first, true},
		{"held by another", second, false},
	} {
		if got, err := TryLock(step.file); err != nil || got != step.want {
			t.Fatalf("%s: TryLock = %t, %v, want %t", step.name, got, err, step.want)
		}
	}
	first.Close()
	if got, err := TryLock(second); err != nil || !got {
		t.Fatalf("after the holder closed: TryLock = %t, %v, want true", got, err)
	}
}
