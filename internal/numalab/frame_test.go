package numalab

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestReportRoundTrip(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	big := bytes.Repeat([]byte("0123456789\r\n\x00"), maxPayload/4) // takes several frames
	if err := os.WriteFile(source, big, 0o644); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	report := &frameWriter{w: &sent}
	if err := report.write(frameBooted, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := report.stream(frameStdout).Write(big); err != nil {
		t.Fatal(err)
	}
	if _, err := report.stream(frameStderr).Write([]byte("oops")); err != nil {
		t.Fatal(err)
	}
	if err := sendFile(0, filepath.Join(dir, "missing"), report); err != nil {
		t.Fatal(err)
	}
	if err := sendFile(1, source, report); err != nil {
		t.Fatal(err)
	}
	if err := report.write(frameExit, []byte("3")); err != nil {
		t.Fatal(err)
	}

	var stdout, stderr bytes.Buffer
	outputs := []File{{Host: filepath.Join(dir, "absent")}, {Host: filepath.Join(dir, "copy")}}
	host := receiver{stdout: &stdout, stderr: &stderr, outputs: outputs}
	code, err := host.receive(&sent)
	if err != nil || code != 3 || !host.booted {
		t.Fatalf("receive = %d, %v, booted %t, want 3, nil, true", code, err, host.booted)
	}
	if !bytes.Equal(stdout.Bytes(), big) || stderr.String() != "oops" {
		t.Errorf("received %d bytes and %q, want %d and %q", stdout.Len(), &stderr, len(big), "oops")
	}
	if got, err := os.ReadFile(outputs[1].Host); err != nil || !bytes.Equal(got, big) {
		t.Errorf("file brought back: %d bytes, %v, want %d", len(got), err, len(big))
	}
	if _, err := os.Stat(outputs[0].Host); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want that it does not exist", err)
	}
}

func TestReceiveCutShort(t *testing.T) {
	var sent bytes.Buffer
	report := &frameWriter{w: &sent}
	report.write(frameStdout, []byte("some output"))
	report.write(frameExit, []byte("0"))
	whole := sent.Bytes()
	for n := range whole {
		host := receiver{stdout: io.Discard, stderr: io.Discard}
		if _, err := host.receive(bytes.NewReader(whole[:n])); !errors.Is(err, errNoExit) {
			t.Errorf("%d of %d bytes: %v, want %v", n, len(whole), err, errNoExit)
		}
	}
}

// The guest is not trusted: whatever it reports, the host neither panics nor
// writes a file that was not asked for.
func FuzzReceive(f *testing.F) {
	f.Fuzz(func(t *testing.T, sent []byte) {
		dir := t.TempDir()
		host := receiver{stdout: io.Discard, stderr: io.Discard, outputs: []File{{Host: filepath.Join(dir, "asked")}}}
		host.receive(bytes.NewReader(sent))
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "asked" {
				t.Errorf("wrote %s", entry.Name())
			}
		}
	})
}
