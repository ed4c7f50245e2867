package keyspace_test

import (
	"fmt"
	"os"
	"testing"

	"numa-agent/keyspace"
)

// readMemory reads an extent by a way that is not the package's own.
func readMemory(t *testing.T, pid int, x keyspace.Extent) []byte {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	b := make([]byte, x.Len)
	if _, err := mem.ReadAt(b, int64(x.Addr)); err != nil {
		t.Fatal(err)
	}
	return b
}
