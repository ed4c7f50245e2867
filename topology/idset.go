package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxID bounds CPU and node numbers: kernels are built for at most 8192 CPUs
// and 1024 nodes (NR_CPUS, MAX_NUMNODES).
const maxID = 1<<16 - 1

// IDSet is an immutable set of CPU or node numbers. The zero value is empty.
type IDSet struct{ ids []int } // ascending, each once

// NewIDSet returns the set of ids.
func NewIDSet(ids ...int) IDSet {
	s := slices.Clone(ids)
	slices.Sort(s)
	return IDSet{slices.Compact(s)}
}

// ParseIDSet reads the kernel's list format, such as "0-3,8"
// (lib/bitmap.c, bitmap_print_to_pagebuf).
func ParseIDSet(text string) (IDSet, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return IDSet{}, nil
	}
	var ids []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := parseID(from)
		last := first
		if err == nil && isRange {
			last, err = parseID(to)
		}
		if err != nil || last < first {
			return IDSet{}, fmt.Errorf("list %.40q: bad part %.40q", text, part)
		}
		if len(ids)+last-first > maxID {
			return IDSet{}, fmt.Errorf("list %.40q: more than %d ids", text, maxID+1)
		}
		for id := first; id <= last; id++ {
			ids = append(ids, id)
		}
	}
	return NewIDSet(ids...), nil
}

func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err == nil && n > maxID {
		err = strconv.ErrRange
	}
	return int(n), err
}

// Contains reports whether id is in the set.
func (s IDSet) Contains(id int) bool {
	_, found := slices.BinarySearch(s.ids, id)
	return found
}

// Len is the number of ids.
func (s IDSet) Len() int { return len(s.ids) }

// IDs returns the ids, ascending.
func (s IDSet) IDs() []int { return slices.Clone(s.ids) }

// Equal reports whether both sets have the same ids.
func (s IDSet) Equal(o IDSet) bool { return slices.Equal(s.ids, o.ids) }

// String writes the set in the kernel's list format.
func (s IDSet) String() string {
	var b strings.Builder
	for i := 0; i < len(s.ids); {
		last := i
		for last+1 < len(s.ids) && s.ids[last+1] == s.ids[last]+1 {
			last++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.ids[i]))
		if last > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(s.ids[last]))
		}
		i = last + 1
	}
	return b.String()
}

// MarshalText writes the list format.
func (s IDSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the list format.
func (s *IDSet) UnmarshalText(text []byte) (err error) {
	*s, err = ParseIDSet(string(text))
	return err
}
