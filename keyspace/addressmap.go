package keyspace

import (
	"fmt"
	"slices"
	"sort"

	"github.com/prometheus/procfs"
)

// span is a range of the target's addresses, end exclusive.
type span struct{ start, end uint64 }

// addressMap is where the target's data can lie: its private writable memory
// that no file backs (heap, anonymous mappings, .bss). A pointer to anything
// else is not followed.
type addressMap struct {
	data []span // ascending, neighbours merged
}

// contains reports whether the n bytes at addr are all data.
func (m *addressMap) contains(addr, n uint64) bool {
	if n == 0 || addr+n < addr {
		return false
	}
	i := sort.Search(len(m.data), func(i int) bool { return m.data[i].end > addr })
	return i < len(m.data) && m.data[i].start <= addr && addr+n <= m.data[i].end
}

func newAddressMap(data []span) *addressMap {
	slices.SortFunc(data, func(a, b span) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	merged := data[:0]
	for _, s := range data {
		if last := len(merged) - 1; last >= 0 && merged[last].end >= s.start {
			merged[last].end = max(merged[last].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return &addressMap{data: merged}
}

// readMaps reads /proc/PID/maps (proc(5)) and returns the address map and
// where the file exe is mapped: its load address and its writable data.
func readMaps(pid int, exe string) (m *addressMap, image imageMap, err error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return nil, imageMap{}, fmt.Errorf("opening process %d: %w", pid, ErrProcessGone)
	}
	maps, err := proc.ProcMaps()
	if err != nil {
		return nil, imageMap{}, fmt.Errorf("reading maps of pid %d: %w", pid, err)
	}
	if len(maps) == 0 {
		return nil, imageMap{}, fmt.Errorf("reading maps of pid %d: %w", pid, ErrProcessGone)
	}
	var data []span
	for i, v := range maps {
		s := span{uint64(v.StartAddr), uint64(v.EndAddr)}
		if v.Perms.Read && v.Perms.Write && v.Perms.Private && v.Inode == 0 {
			data = append(data, s)
		}
		if v.Pathname != exe || v.Inode == 0 {
			continue
		}
		if v.Offset == 0 && image.base == 0 {
			image.base = s.start
		}
		if v.Perms.Write {
			image.data = append(image.data, s)
			// The part of .bss behind the file's last page is an anonymous
			// mapping that follows without a gap.
			if next := i + 1; next < len(maps) && maps[next].Inode == 0 && uint64(maps[next].StartAddr) == s.end {
				image.data = append(image.data, span{s.end, uint64(maps[next].EndAddr)})
			}
		}
	}
	return newAddressMap(data), image, nil
}

// imageMap is where the server's executable lies in its address space.
type imageMap struct {
	base uint64 // where file offset 0 is mapped
	data []span // .data and .bss
}
