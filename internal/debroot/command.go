package debroot

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine returns Debian's name of the folder that holds the libraries of this
// architecture (the multiarch tuple) and the path of glibc's dynamic loader.
func machine() (tuple, loader string) {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1"
	}
	return "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"
}

// Command returns a command that runs a program of a root on this machine with
// the root's own libraries. program is a path inside the root, such as
// "usr/bin/redis-server". Further variables are to be appended to the
// command's Env.
//
// Where the machine's C library is of the same version as the root's, which
// is so when both are of the same suite, the program is run itself and
// /proc/PID/exe is its file. Otherwise it is run through the root's dynamic
// loader, since a loader works only with the C library of its version, and
// /proc/PID/exe is that loader.
func Command(ctx context.Context, root, program string, args ...string) (*exec.Cmd, error) {
	tuple, loader := machine()
	path := filepath.Join(root, program)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("looking for a program in an unpacked root: %w", err)
	}
	libc := filepath.Join("/lib", tuple, "libc.so.6")
	wanted, err := glibcVersion(filepath.Join(root, libc))
	if err != nil {
		return nil, fmt.Errorf("reading the C library of %s: %w", root, err)
	}
	host, err := glibcVersion(libc)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no glibc here, or elsewhere: as good as another version
		return nil, fmt.Errorf("reading the machine's C library: %w", err)
	}
	libraries := strings.Join(LibraryDirs(root), ":")
	if host == wanted {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
		return cmd, nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, loader), append([]string{"--library-path", libraries, path}, args...)...)
	cmd.Env = os.Environ()
	return cmd, nil
}

// LibraryDirs returns the folders below root in which Debian's dynamic loader
// looks for libraries, in its order. Not all need exist.
func LibraryDirs(root string) []string {
	tuple, _ := machine()
	dirs := []string{"lib/" + tuple, "usr/lib/" + tuple, "lib", "usr/lib"}
	for i, dir := range dirs {
		dirs[i] = filepath.Join(root, dir)
	}
	return dirs
}

// glibcVersion returns the newest version of the C library's interface that
// the library at path defines ("2.36"). glibc names a symbol version after
// each release that adds to the interface.
func glibcVersion(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	library, err := elf.NewFile(f)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	defined, err := library.DynamicVersions()
	if err != nil {
		return "", fmt.Errorf("reading the versions %s defines: %w", path, err)
	}
	newest := -1
	for _, version := range defined {
		// Releases count GLIBC_2.2, GLIBC_2.2.5, …, GLIBC_2.36.
		minor, isRelease := strings.CutPrefix(version.Name, "GLIBC_2.")
		if n, err := strconv.Atoi(minor); isRelease && err == nil {
			newest = max(newest, n)
		}
	}
	if newest < 0 {
		return "", fmt.Errorf("%s defines no version GLIBC_2.*", path)
	}
	return "2." + strconv.Itoa(newest), nil
}
