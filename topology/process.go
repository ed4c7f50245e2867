package topology

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// IDs are the user or group ids of a process.
type IDs struct{ Real, Effective, Saved, FS int }

// Process is a process and what it may use.
type Process struct {
	PID        int
	PPID       int
	StartTicks uint64 // start time in clock ticks after boot; with PID it is unique
	Comm       string // name of the main thread, cut to 15 bytes
	Exe        string // path of the executable; empty where it may not be read
	Cmdline    []string
	UIDs, GIDs IDs
	NSPIDs     []int // its pid in each PID namespace, from ours to its own
	// CapEffective are the capabilities it acts with, a bit each
	// (include/uapi/linux/capability.h).
	CapEffective uint64
	// AllowedCPUs and AllowedNodes are what affinity and cpuset leave its main
	// thread.
	AllowedCPUs  IDSet
	AllowedNodes IDSet
}

// Process reads /proc/PID/{stat,status,cmdline,exe} (proc(5)).
func (f FS) Process(pid int) (Process, error) {
	p, err := f.readProcess(pid)
	if err != nil {
		return Process{}, fmt.Errorf("reading process %d: %w", pid, processError(err))
	}
	return p, nil
}

func (f FS) readProcess(pid int) (Process, error) {
	proc, err := f.procfs(pid)
	if err != nil {
		return Process{}, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return Process{}, err
	}
	if stat.State == "Z" || stat.State == "X" {
		return Process{}, ErrProcessGone // ended, but its parent has not asked for the result
	}
	p := Process{PID: pid, PPID: stat.PPID, StartTicks: stat.Starttime, Comm: stat.Comm}
	if p.Cmdline, err = proc.CmdLine(); err != nil {
		return Process{}, err
	}
	if p.Exe, err = proc.Executable(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return Process{}, err
	}
	file, err := os.Open(f.procPath(pid, "status"))
	if err != nil {
		return Process{}, err
	}
	defer file.Close()
	return p, parseStatus(file, &p)
}

func (f FS) procfs(pid int) (procfs.Proc, error) {
	mount, err := procfs.NewFS(f.proc)
	if err != nil {
		return procfs.Proc{}, err
	}
	return mount.Proc(pid)
}

// maxStatusLine bounds a line: the longest lists the groups of a process, at
// most 65536 of eleven bytes (NGROUPS_MAX).
const maxStatusLine = 1 << 20

// parseStatus reads the fields of /proc/PID/status that procfs does not
// parse, or not as sets.
func parseStatus(r io.Reader, p *Process) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxStatusLine)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			continue
		}
		var err error
		switch name {
		case "Uid":
			p.UIDs, err = parseIDs(value)
		case "Gid":
			p.GIDs, err = parseIDs(value)
		case "NSpid":
			p.NSPIDs, err = parseInts(value)
		case "CapEff":
			p.CapEffective, err = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		case "Cpus_allowed_list":
			p.AllowedCPUs, err = ParseIDSet(value)
		case "Mems_allowed_list":
			p.AllowedNodes, err = ParseIDSet(value)
		}
		if err != nil {
			return fmt.Errorf("status field %s: %w", name, err)
		}
	}
	return lines.Err()
}

func parseInts(s string) ([]int, error) {
	var ints []int
	for field := range strings.FieldsSeq(s) {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return nil, err
		}
		ints = append(ints, int(n))
	}
	return ints, nil
}

func parseIDs(s string) (IDs, error) {
	ints, err := parseInts(s)
	if err != nil || len(ints) != 4 {
		return IDs{}, fmt.Errorf("want four ids, got %.40q", s)
	}
	return IDs{ints[0], ints[1], ints[2], ints[3]}, nil
}

// Capabilities that matter here (include/uapi/linux/capability.h).
const (
	CapSysPtrace = 19
	CapSysNice   = 23
)

// Can reports whether the process acts with a capability.
func (p Process) Can(capability int) bool { return p.CapEffective>>capability&1 != 0 }

// IsServer reports whether the process runs a Redis or Valkey server, by the
// name of its executable or main thread. Distributions link redis-server and
// redis-check-rdb to one file, so the thread's name counts too.
func (p Process) IsServer() bool {
	return p.isProgram("redis-server", "valkey-server", "redis-sentinel", "valkey-sentinel")
}

// IsSentinel reports whether the process is a Sentinel, which is the server's
// program in another mode and says so in its name, title or arguments.
func (p Process) IsSentinel() bool {
	return p.isProgram("redis-sentinel", "valkey-sentinel") ||
		p.IsServer() && slices.ContainsFunc(p.Cmdline, func(arg string) bool {
			return arg == "--sentinel" || strings.Contains(arg, "[sentinel]")
		})
}

// isProgram reports whether the executable, also one that was replaced since,
// or the main thread has one of names.
func (p Process) isProgram(names ...string) bool {
	exe := filepath.Base(strings.TrimSuffix(p.Exe, " (deleted)"))
	return slices.Contains(names, exe) || slices.Contains(names, p.Comm)
}

// Thread is one thread of a process.
type Thread struct {
	TID         int
	Name        string
	CPU         int   // that it last ran on
	Node        int   // of that CPU; -1 if unknown
	AllowedCPUs IDSet // by its own affinity and the cpuset
}

// Threads reads /proc/PID/task, the main thread first. Threads that end
// meanwhile are left out.
func (f FS) Threads(pid int, m Machine) ([]Thread, error) {
	mount, err := procfs.NewFS(f.proc)
	if err != nil {
		return nil, fmt.Errorf("reading threads of pid %d: %w", pid, err)
	}
	tasks, err := mount.AllThreads(pid)
	if err != nil {
		return nil, fmt.Errorf("reading threads of pid %d: %w", pid, processError(err))
	}
	var threads []Thread
	for _, task := range tasks {
		t, err := f.readThread(pid, task, m)
		if errors.Is(processError(err), ErrProcessGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading thread %d of pid %d: %w", task.PID, pid, err)
		}
		threads = append(threads, t)
	}
	main := slices.IndexFunc(threads, func(t Thread) bool { return t.TID == pid })
	if main < 0 {
		return nil, fmt.Errorf("reading threads of pid %d: %w", pid, ErrProcessGone)
	}
	threads[0], threads[main] = threads[main], threads[0]
	return threads, nil
}

func (f FS) readThread(pid int, task procfs.Proc, m Machine) (Thread, error) {
	stat, err := task.Stat()
	if err != nil {
		return Thread{}, err
	}
	file, err := os.Open(f.procPath(pid, "task", strconv.Itoa(task.PID), "status"))
	if err != nil {
		return Thread{}, err
	}
	defer file.Close()
	var status Process
	if err := parseStatus(file, &status); err != nil {
		return Thread{}, err
	}
	t := Thread{TID: task.PID, Name: stat.Comm, CPU: int(stat.Processor), AllowedCPUs: status.AllowedCPUs}
	t.Node, _ = m.NodeOfCPU(t.CPU)
	return t, nil
}

// Servers returns every server process that can be seen, Sentinels included.
// Forked children, which save to disk under their parent's name, are left out.
func (f FS) Servers() ([]Process, error) {
	mount, err := procfs.NewFS(f.proc)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	procs, err := mount.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	found := make(map[int]Process)
	for _, proc := range procs {
		p, err := f.Process(proc.PID)
		if err != nil {
			continue // gone, or hidden from us: not one that can be worked on
		}
		if p.IsServer() {
			found[p.PID] = p
		}
	}
	var servers []Process
	for _, p := range found {
		if parent, ok := found[p.PPID]; ok && parent.Comm == p.Comm && parent.Exe == p.Exe {
			continue
		}
		servers = append(servers, p)
	}
	slices.SortFunc(servers, func(a, b Process) int { return a.PID - b.PID })
	return servers, nil
}
