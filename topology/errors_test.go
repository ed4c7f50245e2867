package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"numa-agent/internal/linux"
)

// TestMachineErrors: each file that is missing or corrupt is named.
func TestMachineErrors(t *testing.T) {
	const dir = "devices/system/node/"
	for _, tt := range []struct {
		file, text string // text "-" is no such file
		says       string
	}{
		{"online", "\n", "no node is online"},
		{"online", "0-x", "bad part"},
		{"node0/cpulist", "-", "no such file"},
		{"node0/cpulist", "3-1", "bad part"},
		{"node0/distance", "10 20\n", "2 distances for 1 online nodes"},
		{"node0/meminfo", "Node 0 MemTotal: 5 kB\n", "no MemFree"},
		{"node0/meminfo", "-", "no such file"},
	} {
		files := map[string]string{
			dir + "online": "0\n", dir + "node0/cpulist": "0\n", dir + "node0/distance": "10\n",
			dir + "node0/meminfo": "Node 0 MemTotal: 5 kB\nNode 0 MemFree: 4 kB\n",
		}
		files[dir+tt.file] = tt.text
		if tt.text == "-" {
			delete(files, dir+tt.file)
		}
		m, err := NewFS("", fakeTree(t, files, nil).proc).Machine()
		if err == nil || !strings.Contains(err.Error(), tt.file) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %q: %+v, error %v, want %q", tt.file, tt.text, m, err, tt.says)
		}
	}
}

func TestNodeOfUnknownCPU(t *testing.T) {
	// 0 is a node, so it must not stand for none.
	if node, ok := (Machine{}).NodeOfCPU(0); ok || node != -1 {
		t.Errorf("NodeOfCPU() = %d, %t, want -1", node, ok)
	}
	threads, err := fixture("debian-6.1-2nodes").Threads(fixturePID, Machine{})
	if err != nil || threads[0].Node != -1 {
		t.Errorf("%+v, %v, want node -1", threads, err)
	}
}

func TestNumaMapsWithoutNUMA(t *testing.T) {
	_, err := fakeTree(t, map[string]string{"100/stat": procStat(100, 1)}, nil).NumaMaps(100)
	if !errors.Is(err, ErrNoNUMA) || errors.Is(err, ErrProcessGone) {
		t.Errorf("error %v, want ErrNoNUMA", err)
	}
}

func TestBytesByNodePageSizes(t *testing.T) {
	got := BytesByNode([]NumaMapping{
		{PagesByNode: map[int]uint64{0: 3, 1: 1}, PageSize: 4096},
		{PagesByNode: map[int]uint64{1: 2}, PageSize: 2 << 20, Huge: true},
	})
	if diff := cmp.Diff(map[int]uint64{0: 3 * 4096, 1: 4096 + 4<<20}, got); diff != "" {
		t.Error(diff)
	}
}

func TestProcessError(t *testing.T) {
	for _, err := range []error{fs.ErrNotExist, linux.ENOENT, linux.ESRCH} {
		if got := processError(fmt.Errorf("reading: %w", err)); !errors.Is(got, ErrProcessGone) {
			t.Errorf("%v is %v, want ErrProcessGone", err, got)
		}
	}
	if got := processError(linux.EACCES); !errors.Is(got, linux.EACCES) || errors.Is(got, ErrProcessGone) {
		t.Errorf("EACCES is %v", got)
	}
}
