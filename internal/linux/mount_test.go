package linux

import (
	"errors"
	"testing"
)

// A mount that works is tested in the virtual machine, which needs several.
func TestMountRefused(t *testing.T) {
	err := Mount("no-such-file-system", t.TempDir())
	if !errors.Is(err, ENODEV) && !errors.Is(err, EPERM) { // EPERM: not root
		t.Errorf("Mount of an unknown type = %v, want ENODEV or EPERM", err)
	}
}
