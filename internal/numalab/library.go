package numalab

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"numa-agent/internal/debroot"
)

// Program returns the file of a program and, if it is linked dynamically, its
// loader and libraries, as files to put into a guest at the same paths. root
// is "/" for a program of this machine, or a folder made by debroot.
//
// Libraries are looked for as the dynamic loader does, without LD_LIBRARY_PATH
// and /etc/ld.so.conf (ld.so(8)).
func Program(root, path string) ([]File, error) {
	files := []File{{filepath.Join(root, path), path}}
	queue := []string{path}
	for len(queue) > 0 {
		needed, err := libraries(root, queue[0])
		if err != nil {
			return nil, fmt.Errorf("finding the libraries of %s: %w", filepath.Join(root, path), err)
		}
		queue = queue[1:]
		for _, library := range needed {
			file := File{filepath.Join(root, library), library}
			if !slices.Contains(files, file) {
				files = append(files, file)
				queue = append(queue, library)
			}
		}
	}
	return files, nil
}

// libraries returns the paths in root of what one file names: loader and
// libraries. A file that is not ELF names none.
func libraries(root, path string) ([]string, error) {
	f, err := os.Open(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte(elf.ELFMAG)) {
		return nil, nil
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(segment.Open(), 4096)) // PATH_MAX
		if err != nil {
			return nil, fmt.Errorf("reading the loader's name: %w", err)
		}
		found = append(found, strings.TrimRight(string(name), "\x00"))
	}
	needed, err := program.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("reading the libraries' names: %w", err)
	}
	dirs, err := searchPath(program, path)
	if err != nil {
		return nil, err
	}
	for _, name := range needed {
		library, err := find(root, name, dirs)
		if err != nil {
			return nil, err
		}
		found = append(found, library)
	}
	return found, nil
}

// searchPath returns the folders in which the libraries of the program at path
// may be: those it names itself, then Debian's.
func searchPath(program *elf.File, path string) ([]string, error) {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := program.DynString(tag)
		if err != nil {
			return nil, fmt.Errorf("reading the library path: %w", err)
		}
		for _, value := range values {
			for dir := range strings.SplitSeq(value, ":") {
				dir = strings.ReplaceAll(dir, "${ORIGIN}", "$ORIGIN")
				dirs = append(dirs, strings.ReplaceAll(dir, "$ORIGIN", filepath.Dir(path)))
			}
		}
	}
	return append(dirs, debroot.LibraryDirs("/")...), nil
}

func find(root, library string, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, library)
		_, err := os.Stat(filepath.Join(root, path))
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s is in none of %s below %s", library, strings.Join(dirs, ", "), root)
}
