package topology

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// NumaMapping is one line of numa_maps: a mapping, and on which nodes its
// resident pages lie.
type NumaMapping struct {
	Start  uint64 // address of its first byte
	Policy string // memory policy, such as "default" or "bind:0-1"; the kernel cuts it at 63 bytes
	File   string // the file it maps, unescaped, if any
	Heap   bool
	Stack  bool
	Huge   bool // of hugetlbfs

	// In pages of PageSize; 0 where the kernel leaves a count out.
	Anon        uint64
	Dirty       uint64
	Mapped      uint64 // all resident pages; left out where all are anonymous or all are dirty
	MapMax      uint64 // most mappings that one of its pages has; left out below 2
	SwapCache   uint64
	Active      uint64 // left out where all are active
	Writeback   uint64
	PagesByNode map[int]uint64

	PageSize uint64 // bytes; transparent huge pages are counted in base pages; 0 where nothing is resident
}

// NumaMaps reads /proc/PID/numa_maps (Documentation/admin-guide/mm,
// numa_memory_policy; fs/proc/task_mmu.c, show_numa_map). It returns
// ErrNoNUMA on a kernel that has no such file.
func (f FS) NumaMaps(pid int) ([]NumaMapping, error) {
	file, err := os.Open(f.procPath(pid, "numa_maps"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(f.procPath(pid)); statErr == nil {
			err = ErrNoNUMA
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening numa_maps of pid %d: %w", pid, processError(err))
	}
	defer file.Close()
	maps, err := parseNumaMaps(file)
	if err == nil && len(maps) == 0 {
		err = ErrProcessGone // a zombie: every address space has mappings
	}
	if err != nil {
		return nil, fmt.Errorf("reading numa_maps of pid %d: %w", pid, processError(err))
	}
	return maps, nil
}

// maxNumaMapsLine bounds a line: a path of 4096 bytes, each escaped as four,
// and some counts.
const maxNumaMapsLine = 1 << 16

func parseNumaMaps(r io.Reader) ([]NumaMapping, error) {
	var maps []NumaMapping
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxNumaMapsLine)
	for lines.Scan() {
		m, err := parseNumaMapping(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d, %.80q: %w", len(maps)+1, lines.Text(), err)
		}
		maps = append(maps, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", len(maps)+1, err)
	}
	return maps, nil
}

func parseNumaMapping(line string) (NumaMapping, error) {
	addr, rest, _ := strings.Cut(line, " ")
	start, err := strconv.ParseUint(addr, 16, 64)
	if err != nil {
		return NumaMapping{}, fmt.Errorf("address %.40q: %w", addr, err)
	}
	// "prefer (many)" and "weighted interleave" have a space in them
	// (mm/mempolicy.c, policy_modes).
	policy, rest, _ := strings.Cut(rest, " ")
	if policy == "weighted" || policy == "prefer" {
		more, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(more, "interleave") || strings.HasPrefix(more, "(many)") {
			policy, rest = policy+" "+more, after
		}
	}
	if policy == "" {
		return NumaMapping{}, errors.New("no memory policy")
	}
	m := NumaMapping{Start: start, Policy: policy, PagesByNode: make(map[int]uint64)}
	for field := range strings.FieldsSeq(rest) {
		if err := m.parseField(field); err != nil {
			return NumaMapping{}, fmt.Errorf("field %.40q: %w", field, err)
		}
	}
	if len(m.PagesByNode) > 0 && m.PageSize == 0 {
		return NumaMapping{}, errors.New("pages without a page size")
	}
	return m, nil
}

func (m *NumaMapping) parseField(field string) error {
	key, value, hasValue := strings.Cut(field, "=")
	if !hasValue {
		switch field {
		case "heap":
			m.Heap = true
		case "stack":
			m.Stack = true
		case "huge":
			m.Huge = true
		}
		return nil // flags of other kernels are of no interest
	}
	var count *uint64
	switch key {
	case "file":
		m.File = unescape(value)
		return nil
	case "anon":
		count = &m.Anon
	case "dirty":
		count = &m.Dirty
	case "mapped":
		count = &m.Mapped
	case "mapmax":
		count = &m.MapMax
	case "swapcache":
		count = &m.SwapCache
	case "active":
		count = &m.Active
	case "writeback":
		count = &m.Writeback
	case "kernelpagesize_kB":
		kb, err := strconv.ParseUint(value, 10, 32)
		m.PageSize = kb << 10
		return err
	default:
		id, isNode := strings.CutPrefix(key, "N")
		if !isNode || id == "" || id[0] < '0' || id[0] > '9' {
			return nil // a field of a newer kernel
		}
		node, err := parseID(id)
		if err != nil {
			return err
		}
		pages, err := parsePages(value)
		m.PagesByNode[node] = pages
		return err
	}
	var err error
	*count, err = parsePages(value)
	return err
}

// parsePages reads a number of pages: an address space of 2^57 bytes has less
// than 2^46.
func parsePages(s string) (uint64, error) { return strconv.ParseUint(s, 10, 46) }

// unescape undoes the octal escapes of newline, tab, blank and = in a path.
// Others are part of the name: the kernel does not escape \ itself
// (fs/proc/task_mmu.c, show_numa_map; fs/seq_file.c, mangle_path).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\012`, "\n", `\011`, "\t", `\040`, " ", `\075`, "=").Replace(s)
}

// BytesByNode sums the resident memory of mappings by node.
func BytesByNode(maps []NumaMapping) map[int]uint64 {
	bytes := make(map[int]uint64)
	for _, m := range maps {
		for node, pages := range m.PagesByNode {
			bytes[node] += pages * m.PageSize
		}
	}
	return bytes
}
