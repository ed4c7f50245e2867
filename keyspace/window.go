package keyspace

import (
	"context"
	"encoding/binary"
	"slices"
)

// maxRead bounds one range asked of a window: nothing the walk decodes in one
// piece is longer.
const maxRead = 1 << 20

// maxSlab is how many bytes of pages a window should hold at most. A single
// round may go beyond it.
const maxSlab = 32 << 20

// window is a copy of some pages of the target, read in bulk so that pointers
// are chased in the copy: a system call costs about as much as copying a page,
// so one for each pointer would be the whole cost of a walk. Use is in rounds:
// want what the next step needs, fetch it in one go, decode.
type window struct {
	mem     memory
	data    *addressMap      // where the target's data can lie
	index   map[uint64]int32 // page number → its place in slab, or unread, unreadable
	slab    []byte           // the pages read, in order of arrival
	missing []uint64         // page numbers wanted and not yet read
	ok      []bool
	scratch []byte // for ranges that cross a page
	pages   uint64 // pages copied so far, over all rounds
}

const (
	unread     int32 = -1
	unreadable int32 = -2
)

func newWindow(mem memory, data *addressMap) *window {
	return &window{mem: mem, data: data, index: make(map[uint64]int32)}
}

// reset forgets all pages, so that what is read next is fresh.
func (w *window) reset() {
	clear(w.index)
	w.slab = w.slab[:0]
	w.missing = w.missing[:0]
}

// full reports whether so many pages are held that it is time to reset.
func (w *window) full() bool { return len(w.slab) >= maxSlab }

// want notes that the n bytes at addr are needed from the next fetch on.
// Ranges that are too long or wrap around are ignored: at will not find them.
func (w *window) want(addr, n uint64) {
	if n == 0 || n > maxRead || addr+n < addr {
		return
	}
	for p := addr >> pageShift; p <= (addr+n-1)>>pageShift; p++ {
		if _, known := w.index[p]; !known {
			w.index[p] = unread
			w.missing = append(w.missing, p)
		}
	}
}

// fetch reads the pages wanted since the last one. Slices that at returned
// before are no longer valid.
func (w *window) fetch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(w.missing) == 0 {
		return nil
	}
	slices.Sort(w.missing)
	have := len(w.slab)
	w.slab = slices.Grow(w.slab, len(w.missing)*pageSize)[:have+len(w.missing)*pageSize]
	w.ok = append(w.ok[:0], make([]bool, len(w.missing))...)
	if err := w.mem.ReadPages(w.slab[have:], w.missing, w.ok); err != nil {
		return err
	}
	for i, p := range w.missing {
		if w.ok[i] {
			w.index[p] = int32(have/pageSize + i)
		} else {
			w.index[p] = unreadable
		}
	}
	w.pages += uint64(len(w.missing))
	w.missing = w.missing[:0]
	return nil
}

// at returns the n bytes at addr, or nil when any of them was not wanted or
// could not be read. The slice is valid until the next call of at or fetch.
func (w *window) at(addr, n uint64) []byte {
	if n == 0 || n > maxRead || addr+n < addr {
		return nil
	}
	first, off := addr>>pageShift, addr&(pageSize-1)
	if off+n <= pageSize {
		page := w.page(first)
		if page == nil {
			return nil
		}
		return page[off : off+n]
	}
	w.scratch = w.scratch[:0]
	for p := first; uint64(len(w.scratch)) < n; p++ {
		page := w.page(p)
		if page == nil {
			return nil
		}
		page = page[off:]
		w.scratch = append(w.scratch, page[:min(n-uint64(len(w.scratch)), uint64(len(page)))]...)
		off = 0
	}
	return w.scratch
}

func (w *window) page(number uint64) []byte {
	i, known := w.index[number]
	if !known || i < 0 {
		return nil
	}
	return w.slab[int(i)*pageSize : (int(i)+1)*pageSize]
}

// read fetches one range at once: for the few structures read one at a time.
func (w *window) read(ctx context.Context, addr, n uint64) ([]byte, error) {
	w.want(addr, n)
	if err := w.fetch(ctx); err != nil {
		return nil, err
	}
	return w.at(addr, n), nil
}

// The targets are little-endian 64-bit processes, like this one.
func u16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
