package numalab

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// The guest reports to the host in frames: one byte that says what it is, the
// length of the payload as 32 bits, little-endian, and the payload.
const (
	frameBooted  = 'b' // the command is about to start; no payload
	frameStdout  = 'o' // bytes of the command's standard output
	frameStderr  = 'e'
	frameFile    = 'f' // decimal index of the output file that the next data is of
	frameData    = 'd' // bytes of that file, gzip-compressed
	frameFailure = '!' // why the command could not be run; the last frame
	frameExit    = 'x' // decimal exit code; the last frame
)

const (
	frameHeader = 5
	maxPayload  = 32 << 10

	// Limits of what the host takes for one output file, against a guest gone
	// wild: compressed in memory and uncompressed on disk.
	maxCompressed = 256 << 20
	maxOutput     = 4 << 30
)

// frameWriter writes frames from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (fw *frameWriter) write(kind byte, payload []byte) error {
	frame := make([]byte, 0, frameHeader+len(payload))
	frame = append(frame, kind)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(payload)))
	frame = append(frame, payload...)
	fw.mu.Lock()
	defer fw.mu.Unlock()
	_, err := fw.w.Write(frame)
	return err
}

// stream returns a writer whose bytes become frames of one kind.
func (fw *frameWriter) stream(kind byte) io.Writer { return frameStream{fw, kind} }

type frameStream struct {
	fw   *frameWriter
	kind byte
}

func (s frameStream) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n := min(len(p)-written, maxPayload)
		if err := s.fw.write(s.kind, p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// readFrame reads one frame. It returns io.EOF only where one ends.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.LittleEndian.Uint32(header[1:])
	if length > maxPayload {
		return 0, nil, fmt.Errorf("frame %q of %d bytes, limit %d", header[0], length, maxPayload)
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return header[0], payload, nil
}

// errNoExit says that the guest's report ended before it had an exit code.
var errNoExit = errors.New("the guest ended without reporting an exit code")

// receiver passes on what the guest reports.
type receiver struct {
	stdout, stderr io.Writer
	outputs        []File
	booted         bool // the guest has got as far as the command
}

// receive reads the guest's report to its end: output goes to stdout and
// stderr as it comes, files are written last. Nothing after the exit code is
// read.
func (h *receiver) receive(r io.Reader) (exitCode int, err error) {
	r = bufio.NewReader(r)
	files := make([]bytes.Buffer, len(h.outputs))
	current := -1
	for {
		kind, payload, err := readFrame(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, errNoExit
		}
		if err != nil {
			return 0, fmt.Errorf("reading the guest's report: %w", err)
		}
		switch kind {
		case frameBooted:
			h.booted = true
		case frameStdout:
			_, err = h.stdout.Write(payload)
		case frameStderr:
			_, err = h.stderr.Write(payload)
		case frameFile:
			current, err = fileIndex(payload, len(files))
		case frameData:
			if current < 0 || files[current].Len()+len(payload) > maxCompressed {
				err = errors.New("data of no file, or too much of it")
			} else {
				files[current].Write(payload)
			}
		case frameFailure:
			return 0, fmt.Errorf("in the guest: %s", payload)
		case frameExit:
			code, err := strconv.Atoi(string(payload))
			if err != nil {
				return 0, fmt.Errorf("reading the guest's report: exit code: %w", err)
			}
			return code, writeOutputs(h.outputs, files)
		default:
			err = fmt.Errorf("unknown frame %q", kind)
		}
		if err != nil {
			return 0, fmt.Errorf("passing on the guest's report: %w", err)
		}
	}
}

func fileIndex(payload []byte, files int) (int, error) {
	index, err := strconv.Atoi(string(payload))
	if err == nil && (index < 0 || index >= files) {
		err = fmt.Errorf("file %d of %d", index, files)
	}
	return index, err
}

// writeOutputs writes the files of which data came.
func writeOutputs(outputs []File, files []bytes.Buffer) error {
	for i := range files {
		if files[i].Len() == 0 {
			continue
		}
		if err := writeOutput(outputs[i].Host, &files[i]); err != nil {
			return fmt.Errorf("bringing back %s: %w", outputs[i].Guest, err)
		}
	}
	return nil
}

func writeOutput(path string, compressed io.Reader) error {
	content, err := gzip.NewReader(compressed)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, maxOutput+1))
	if err == nil && n > maxOutput {
		err = fmt.Errorf("more than %d bytes", int64(maxOutput))
	}
	return errors.Join(err, f.Close())
}
