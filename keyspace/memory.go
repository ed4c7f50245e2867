package keyspace

import (
	"errors"
	"fmt"
	"io/fs"

	"numa-agent/internal/linux"
)

// Copies are made in pages of this size whatever the kernel's page size is:
// the smallest the supported architectures map, so a page is readable or it
// is not.
const (
	pageShift = 12
	pageSize  = 1 << pageShift
)

// ErrProcessGone is returned when the target ended while it was read.
var ErrProcessGone = errors.New("process is gone")

// memory is the address space of another process, or a copy of one.
type memory interface {
	// ReadPages copies the pages numbered pages (address / 4096, ascending)
	// into dst, one after the other, and says in ok which of them could be
	// read. An error means that none can be: the process is gone, or access
	// is denied.
	ReadPages(dst []byte, pages []uint64, ok []bool) error
}

// processMemory reads a live process with process_vm_readv(2).
type processMemory struct {
	pid int
	iov []linux.Iovec
}

var _ memory = (*processMemory)(nil)

func (m *processMemory) ReadPages(dst []byte, pages []uint64, ok []bool) error {
	for i := 0; i < len(pages); {
		end := m.coalesce(pages, i)
		n, err := linux.ReadProcess(m.pid, dst[i*pageSize:end*pageSize], m.iov)
		if err != nil && !errors.Is(err, linux.EFAULT) {
			return readError(m.pid, err)
		}
		for whole := i + n/pageSize; i < whole; i++ {
			ok[i] = true
		}
		if i == end {
			continue
		}
		// The copy stopped in the vector that holds page i, which need not be
		// the page at fault: ask for that page alone, then go on behind it.
		m.iov = append(m.iov[:0], linux.Iovec{Addr: pages[i] << pageShift, Len: pageSize})
		n, err = linux.ReadProcess(m.pid, dst[i*pageSize:(i+1)*pageSize], m.iov)
		if err != nil && !errors.Is(err, linux.EFAULT) {
			return readError(m.pid, err)
		}
		ok[i] = n == pageSize
		i++
	}
	return nil
}

// coalesce fills m.iov with one vector per run of neighbouring pages, from
// pages[i] on, and returns the index behind the last page taken.
func (m *processMemory) coalesce(pages []uint64, i int) int {
	m.iov = m.iov[:0]
	for ; i < len(pages); i++ {
		addr := pages[i] << pageShift
		if last := len(m.iov) - 1; last >= 0 && m.iov[last].Addr+m.iov[last].Len == addr {
			m.iov[last].Len += pageSize
			continue
		}
		if len(m.iov) == linux.MaxIovecs {
			break
		}
		m.iov = append(m.iov, linux.Iovec{Addr: addr, Len: pageSize})
	}
	return i
}

func readError(pid int, err error) error {
	switch {
	case errors.Is(err, linux.ESRCH):
		return fmt.Errorf("reading memory of pid %d: %w", pid, ErrProcessGone)
	case linux.IsPermission(err):
		return fmt.Errorf("reading memory of pid %d: %w: run as the server's own uid and gid, or with CAP_SYS_PTRACE", pid, fs.ErrPermission)
	default:
		return fmt.Errorf("reading memory of pid %d: %w", pid, err)
	}
}
