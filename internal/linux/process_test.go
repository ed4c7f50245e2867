package linux_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"numa-agent/internal/linux"
)

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func TestReadProcess(t *testing.T) {
	src := []byte("0123456789abcdef")
	dst := make([]byte, 8)
	n, err := linux.ReadProcess(os.Getpid(), dst, []linux.Iovec{{Addr: address(src) + 2, Len: 3}, {Addr: address(src) + 10, Len: 5}})
	if err != nil || n != 8 || string(dst) != "234abcde" {
		t.Errorf("read %q, %d bytes, %v", dst, n, err)
	}
	if _, err := linux.ReadProcess(os.Getpid(), dst, make([]linux.Iovec, linux.MaxIovecs+1)); !errors.Is(err, linux.EINVAL) {
		t.Errorf("too many segments: %v", err)
	}
	if _, err := linux.ReadProcess(os.Getpid(), dst, []linux.Iovec{{Addr: 4096, Len: 8}}); !errors.Is(err, linux.EFAULT) {
		t.Errorf("an unmapped address: %v", err)
	}
	if n, err := linux.ReadProcess(os.Getpid(), dst, nil); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

// TestReadProcessPartial: the kernel stops at the page it cannot read.
func TestReadProcessPartial(t *testing.T) {
	const page = 4096
	memory, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	copy(memory, bytes.Repeat([]byte("x"), 3*page))
	if err := unix.Mprotect(memory[page:2*page], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 3*page)
	for _, iov := range [][]linux.Iovec{
		{{Addr: address(memory), Len: 3 * page}},
		{{Addr: address(memory), Len: page}, {Addr: address(memory) + page, Len: page}, {Addr: address(memory) + 2*page, Len: page}},
	} {
		if n, err := linux.ReadProcess(os.Getpid(), dst, iov); n != page || err != nil {
			t.Errorf("%d vectors: read %d bytes, %v, want one page", len(iov), n, err)
		}
	}
}

func TestPidFD(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := linux.OpenPidFD(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if !fd.Alive() {
		t.Error("a running process is not alive")
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if fd.Alive() {
		t.Error("an ended process is alive")
	}
	if _, err := linux.OpenPidFD(cmd.Process.Pid); !errors.Is(err, linux.ESRCH) {
		t.Errorf("opening an ended process: %v", err)
	}
}

func TestMovePagesArguments(t *testing.T) {
	if _, err := linux.MovePages(0, make([]uint64, 2), nil, make([]int32, 1), 0); !errors.Is(err, linux.EINVAL) {
		t.Errorf("too few statuses: %v", err)
	}
	if _, err := linux.MovePages(0, make([]uint64, 2), make([]int32, 1), make([]int32, 2), linux.MoveOwned); !errors.Is(err, linux.EINVAL) {
		t.Errorf("too few nodes: %v", err)
	}
	if n, err := linux.MovePages(0, nil, nil, nil, 0); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

func TestErrnoName(t *testing.T) {
	for status, want := range map[int32]string{-16: "EBUSY", -14: "EFAULT", -9999: "-9999"} {
		if got := linux.ErrnoName(status); got != want {
			t.Errorf("%d is %q, want %q", status, got, want)
		}
	}
	if !linux.IsPermission(unix.EACCES) || linux.IsPermission(unix.EBUSY) {
		t.Error("EACCES is a lack of permission, EBUSY is none")
	}
}
