package topology

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"numa-agent/internal/linux"
)

// TestPageNodesBatches asks for more pages than one call takes, the last two
// of them never touched and not mapped.
func TestPageNodesBatches(t *testing.T) {
	m, err := DefaultFS().Machine()
	if err != nil {
		t.Fatal(err)
	}
	page, count := os.Getpagesize(), queryBatch+3
	memory, err := unix.Mmap(-1, 0, count*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	// A huge page would make the untouched one resident too.
	if err := unix.Madvise(memory, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	pages, nodes := make([]uint64, count), make([]int32, count)
	for i := range pages {
		pages[i] = uint64(uintptr(unsafe.Pointer(&memory[i*page])))
		if i < count-2 {
			memory[i*page] = 1
		}
	}
	pages[count-1] = uint64(page) // below vm.mmap_min_addr
	if err := PageNodes(os.Getpid(), pages, nodes); err != nil {
		t.Fatal(err)
	}
	for i, node := range nodes[:count-2] {
		if !m.HasNode(int(node)) {
			t.Fatalf("page %d of %d is on node %d", i, count, node)
		}
	}
	if got := nodes[count-2]; got != -int32(linux.ENOENT) {
		t.Errorf("untouched page: %d, want -ENOENT", got)
	}
	if got := nodes[count-1]; got != -int32(linux.EFAULT) {
		t.Errorf("unmapped page: %d, want -EFAULT", got)
	}
}

func TestPageError(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{linux.EPERM, fs.ErrPermission},
		{linux.EACCES, fs.ErrPermission},
		{linux.ESRCH, ErrProcessGone},
		{linux.EINVAL, ErrProcessGone},
		{linux.ENOSYS, ErrNoNUMA},
		{linux.EFAULT, linux.EFAULT},
	} {
		if got := pageError(tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%v is %v, want %v", tt.err, got, tt.want)
		}
	}
}
