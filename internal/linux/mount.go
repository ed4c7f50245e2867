package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system that needs no device, such as "proc" or "tmpfs",
// on the folder target (mount(2)).
func Mount(fstype, target string) error {
	if err := unix.Mount(fstype, target, fstype, 0, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", fstype, target, err)
	}
	return nil
}
