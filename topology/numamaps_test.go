package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNumaMapping(t *testing.T) {
	nodes := func(m map[int]uint64) map[int]uint64 { return m }
	for line, want := range map[string]NumaMapping{
		"7f00 default": {Start: 0x7f00, Policy: "default", PagesByNode: nodes(map[int]uint64{})},
		"7f00 default heap anon=5 dirty=4 active=3 N0=2 N3=3 kernelpagesize_kB=4": {Start: 0x7f00, Policy: "default", Heap: true,
			Anon: 5, Dirty: 4, Active: 3, PagesByNode: map[int]uint64{0: 2, 3: 3}, PageSize: 4096},
		"7f00 bind:0-1 huge anon=2 N1=2 kernelpagesize_kB=2048": {Start: 0x7f00, Policy: "bind:0-1", Huge: true, Anon: 2,
			PagesByNode: map[int]uint64{1: 2}, PageSize: 2 << 20},
		`7f00 prefer:1 file=/a\040b\075\012\134c\h\040(deleted) mapped=9 mapmax=3 swapcache=1 writeback=2 N1=9 kernelpagesize_kB=4`: {Start: 0x7f00,
			Policy: "prefer:1", File: "/a b=\n\\134c\\h (deleted)", Mapped: 9, MapMax: 3, SwapCache: 1, Writeback: 2,
			PagesByNode: map[int]uint64{1: 9}, PageSize: 4096},
		"7f00 prefer (many):0-1 stack":                  {Start: 0x7f00, Policy: "prefer (many):0-1", Stack: true, PagesByNode: map[int]uint64{}},
		"7f00 weighted interleave:0-1 anon=1":           {Start: 0x7f00, Policy: "weighted interleave:0-1", Anon: 1, PagesByNode: map[int]uint64{}},
		"7f00 interleave=static:0-1 newfield=x newflag": {Start: 0x7f00, Policy: "interleave=static:0-1", PagesByNode: map[int]uint64{}},
		"7f00 local Nothing=1":                          {Start: 0x7f00, Policy: "local", PagesByNode: map[int]uint64{}},
	} {
		got, err := parseNumaMapping(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

func TestParseNumaMapsErrors(t *testing.T) {
	for _, line := range []string{"", "7f00", "xyz default", "7f00 default anon=", "7f00 default anon=-1", "7f00 default N0=x",
		"7f00 default N99999999=1", "7f00 default anon=99999999999999999999", "7f00 default kernelpagesize_kB=x", "7f00 default anon=1 N0=1"} {
		_, err := parseNumaMaps(strings.NewReader("7f00 default\n" + line + "\n"))
		if err == nil {
			t.Errorf("%q is taken", line)
		} else if !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), fmt.Sprintf("%q", line)) {
			t.Errorf("%q: error %q does not name the line", line, err)
		}
	}
	if _, err := parseNumaMaps(strings.NewReader("7f00 default file=" + strings.Repeat("x", maxNumaMapsLine))); err == nil {
		t.Error("an endless line is taken")
	}
}

// TestNumaMapsLong: a large server's file is far longer than 1 MiB.
func TestNumaMapsLong(t *testing.T) {
	const lines = 100_000
	text := strings.Repeat("7f0000000000 default anon=512 dirty=512 active=0 N0=500 N1=12 kernelpagesize_kB=4\n", lines)
	maps, err := parseNumaMaps(strings.NewReader(text))
	if err != nil || len(maps) != lines {
		t.Fatalf("%d mappings, %v", len(maps), err)
	}
	if diff := cmp.Diff(map[int]uint64{0: 500 * 4096 * lines, 1: 12 * 4096 * lines}, BytesByNode(maps)); diff != "" {
		t.Error(diff)
	}
}

func TestNumaMapsFixture(t *testing.T) {
	maps, err := fixture("debian-6.1-2nodes").NumaMaps(fixturePID)
	if err != nil {
		t.Fatal(err)
	}
	bytes := BytesByNode(maps)
	heap, stack := 0, 0
	for _, m := range maps {
		if m.Heap {
			heap++
		}
		if m.Stack {
			stack++
		}
	}
	if len(maps) < 50 || bytes[0] == 0 || bytes[1] == 0 || stack != 1 || heap > 1 {
		t.Errorf("%d mappings, %v, %d heaps, %d stacks", len(maps), bytes, heap, stack)
	}
}

func TestNumaMapsMissing(t *testing.T) {
	if _, err := fixture("no-numa").NumaMaps(1); !errors.Is(err, ErrProcessGone) {
		t.Errorf("of a process that is not there: %v", err)
	}
}

func FuzzParseNumaMaps(f *testing.F) {
	f.Add("7f00 default heap anon=5 dirty=4 active=3 N0=2 N3=3 kernelpagesize_kB=4\n")
	f.Add("7f00 prefer (many):0-1 file=/a\\040b\\")
	f.Add("0 weighted interleave:0 N0=70368744177663 N0=1 kernelpagesize_kB=4294967295")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseNumaMaps(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, m := range maps {
			if m.Policy == "" || m.PageSize%1024 != 0 {
				t.Errorf("%+v", m)
			}
		}
		BytesByNode(maps)
	})
}
