package numalab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// initPath is where the kernel finds the guest's first process, and jobPath
// where that finds what to do.
const (
	initPath = "/init"
	jobPath  = "/numalab.json"
)

// job is what the guest's init is to do.
type job struct {
	Command []string
	Dir     string
	Env     []string
	Outputs []string // paths of files to bring back
}

// image is the guest's file system before it is packed: by cleaned path below
// the root, without a leading slash, so that a later file replaces an earlier
// one.
type image struct{ entries map[string]entry }

// entry is a folder, a link, a file with its content here, or one on the host.
type entry struct {
	mode    fs.FileMode
	host    string // a file on the host
	content []byte // of a file without one, or a link's target
	size    int64
}

// mergedUsr returns the folders of which Debian has only links at the top.
func mergedUsr() []string { return []string{"bin", "lib", "lib64", "sbin"} }

func newImage() *image {
	m := &image{entries: map[string]entry{}}
	for _, dir := range []string{"/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp", "/var"} {
		m.dir(dir)
	}
	for _, name := range mergedUsr() {
		m.dir("/usr/" + name)
		m.entries[name] = linkTo("usr/" + name)
	}
	return m
}

// place returns the key of a guest path, and makes the folders above it.
func (m *image) place(guest string) string {
	name := strings.TrimPrefix(path.Clean("/"+guest), "/")
	if top, _, _ := strings.Cut(name, "/"); slices.Contains(mergedUsr(), top) {
		name = path.Join("usr", name)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := m.entries[dir]; !ok {
			m.entries[dir] = entry{mode: fs.ModeDir | 0o755}
		}
	}
	return name
}

func linkTo(target string) entry {
	return entry{mode: fs.ModeSymlink | 0o777, content: []byte(target), size: int64(len(target))}
}

func (m *image) dir(guest string) { m.entries[m.place(guest)] = entry{mode: fs.ModeDir | 0o755} }

func (m *image) link(guest, target string) { m.entries[m.place(guest)] = linkTo(target) }

func (m *image) file(guest string, content []byte) {
	m.entries[m.place(guest)] = entry{mode: 0o644, content: content, size: int64(len(content))}
}

// add adds a file of the host under its guest path, or a folder with all files,
// folders and links in it. A link given by name itself is followed.
func (m *image) add(file File) error {
	info, err := os.Stat(file.Host)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return m.addOne(file.Host, file.Guest, info)
	}
	return filepath.WalkDir(file.Host, func(host string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(file.Host, host)
		if err != nil {
			return err
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		return m.addOne(host, path.Join(file.Guest, filepath.ToSlash(below)), info)
	})
}

func (m *image) addOne(host, guest string, info fs.FileInfo) error {
	switch info.Mode().Type() {
	case 0:
		m.entries[m.place(guest)] = entry{mode: info.Mode(), host: host, size: info.Size()}
	case fs.ModeDir:
		m.entries[m.place(guest)] = entry{mode: info.Mode()}
	case fs.ModeSymlink:
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		m.link(guest, target)
	default:
		return fmt.Errorf("%s is neither a file nor a folder nor a link", host)
	}
	return nil
}

// size returns the bytes of all files.
func (m *image) size() int64 {
	var sum int64
	for _, e := range m.entries {
		sum += e.size
	}
	return sum
}

// pack writes the image in the format the kernel unpacks at boot
// (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed:
// unpacking under emulation costs more than reading.
func (m *image) pack(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	archive := cpio.NewWriter(buffered)
	for _, name := range slices.Sorted(maps.Keys(m.entries)) { // folders come before what is in them
		if err := packOne(archive, name, m.entries[name]); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return errors.Join(archive.Close(), buffered.Flush())
}

func packOne(archive *cpio.Writer, name string, e entry) error {
	header := &cpio.Header{Name: name, Size: e.size, Mode: cpio.FileMode(e.mode.Perm())}
	switch e.mode.Type() {
	case fs.ModeDir:
		header.Mode |= cpio.TypeDir
		header.Size = 0
	case fs.ModeSymlink:
		header.Mode |= cpio.TypeSymlink
	default:
		header.Mode |= cpio.TypeReg
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if e.host == "" {
		_, err := archive.Write(e.content)
		return err
	}
	f, err := os.Open(e.host)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(archive, f, e.size)
	return err
}

// buildImage lays out the guest: Debian's programs from root, the running
// program as init, and what the configuration asks for.
func buildImage(ctx context.Context, root string, cfg *Config) (*image, error) {
	m := newImage()
	if err := m.addSystem(ctx, root); err != nil {
		return nil, err
	}
	// What comes from the host replaces what is there: where both have a C
	// library, the host's has to serve Debian's programs too, and does if it is
	// not the older one. A program without libraries brings none.
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := m.addProgram("/", self, initPath); err != nil {
		return nil, err
	}
	for _, file := range cfg.Files {
		if !path.IsAbs(file.Guest) {
			return nil, fmt.Errorf("guest path %q of %s is not absolute", file.Guest, file.Host)
		}
		if err := m.add(file); err != nil {
			return nil, err
		}
	}
	todo := job{Command: cfg.Command, Dir: cfg.Dir, Env: cfg.Env}
	for _, output := range cfg.Outputs {
		m.place(output.Guest) // whoever writes it expects its folder
		todo.Outputs = append(todo.Outputs, output.Guest)
	}
	encoded, err := json.Marshal(todo)
	if err != nil {
		return nil, err
	}
	m.file(jobPath, encoded)
	return m, nil
}

// addSystem adds the programs of Debian's packages, the applets of busybox
// beside them, and the files that the C library looks up.
func (m *image) addSystem(ctx context.Context, root string) error {
	m.file("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	m.file("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
	m.file("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"))
	const busybox = "/usr/bin/busybox"
	applets, err := exec.CommandContext(ctx, filepath.Join(root, busybox), "--list").Output()
	if err != nil {
		return fmt.Errorf("listing the applets of busybox: %w", err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		m.link("/usr/bin/"+applet, busybox)
	}
	for _, name := range []string{"redis-server", "redis-cli", "redis-benchmark", "numactl", "migratepages", "busybox"} {
		program := "/usr/bin/" + name
		if err := m.addProgram(root, program, program); err != nil {
			return err
		}
	}
	return nil
}

// addProgram adds a program under another path, with its libraries.
func (m *image) addProgram(root, host, guest string) error {
	files, err := Program(root, host)
	if err != nil {
		return err
	}
	files[0].Guest = guest
	for _, file := range files {
		if err := m.add(file); err != nil {
			return err
		}
	}
	return nil
}
