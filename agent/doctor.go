package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"numa-agent/keyspace"
	"numa-agent/topology"
)

// Check is one thing doctor looked at.
type Check struct {
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	Found  string      `json:"found"`
	Fix    string      `json:"fix,omitempty"`
}

// CheckStatus is how a check went.
type CheckStatus string

// How a check can go.
const (
	OK   CheckStatus = "ok"
	Warn CheckStatus = "warn" // works, but not as well as it could
	Fail CheckStatus = "fail"
)

// Diagnosis is the output of doctor.
type Diagnosis struct {
	Schema string  `json:"schema"`
	Checks []Check `json:"checks"`
	// Err is why the first failed check failed: it decides the exit code.
	Err error `json:"-"`
}

// DoctorSchema is the name and version of the format of Diagnosis.
const DoctorSchema = "numa-agent/doctor/v1"

func (d *Diagnosis) add(name string, status CheckStatus, fix, format string, args ...any) {
	d.Checks = append(d.Checks, Check{Name: name, Status: status, Found: fmt.Sprintf(format, args...), Fix: fix})
}

// fail adds a failed check.
func (d *Diagnosis) fail(name string, err error, fix string) {
	d.add(name, Fail, fix, "%v", err)
	if d.Err == nil {
		d.Err = err
	}
}

// Diagnose looks at everything that a cycle needs and says what to do about
// what is missing. It changes nothing.
func Diagnose(ctx context.Context, cfg Config, sys topology.FS) *Diagnosis {
	d := &Diagnosis{Schema: DoctorSchema}
	if err := cfg.validate(); err != nil {
		d.fail("settings", err, "")
		return d
	}
	machine := d.machine(sys)
	d.balancing()
	target, err := Find(ctx, cfg, sys)
	if err != nil {
		d.fail("target", err, targetFix(err))
		return d
	}
	defer target.Close()
	d.add("target", OK, "", "%s %s, pid %d, at %s", target.Info.Server, target.Info.Version, target.PID, target.Client.Options().Addr)
	d.policy(target.Info)
	d.identity(sys, target)
	d.reading(ctx, target)
	d.placement(sys, target)
	d.threads(sys, target, machine)
	return d
}

func targetFix(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "give the password (REDIS_PASSWORD, --redis.password-file), or run as the server's own user"
	case errors.Is(err, ErrTarget):
		return "start the server, or name it with --redis.addr or --pid"
	}
	return ""
}

func (d *Diagnosis) machine(sys topology.FS) topology.Machine {
	m, err := sys.Machine()
	switch {
	case err != nil:
		d.fail("nodes", err, "mount /sys where numa-agent runs")
	case len(m.Nodes) == 1:
		d.add("nodes", Warn, "none needed: all memory of this machine is local", "1 NUMA node: there is nothing to move")
	default:
		d.add("nodes", OK, "", "%d NUMA nodes", len(m.Nodes))
	}
	return m
}

// balancing warns of the kernel's own page migration (sysctl
// kernel.numa_balancing), which moves pages back and stalls the server.
func (d *Diagnosis) balancing() {
	b, err := os.ReadFile("/proc/sys/kernel/numa_balancing")
	if err != nil {
		return // a kernel without it
	}
	if mode := strings.TrimSpace(string(b)); mode != "0" {
		d.add("numa_balancing", Warn, "sysctl kernel.numa_balancing=0",
			"the kernel's NUMA balancing is on (%s): it stalls the server with page faults and may move pages back", mode)
		return
	}
	d.add("numa_balancing", OK, "", "the kernel's NUMA balancing is off")
}

func (d *Diagnosis) policy(i Info) {
	if i.LFU() {
		d.add("heat", OK, "", "maxmemory-policy %s: access counters", i.Policy)
		return
	}
	d.add("heat", Warn, "an LFU maxmemory-policy tells hot keys apart better; without a maxmemory limit it evicts nothing",
		"maxmemory-policy %s: times of the last access", i.Policy)
}

// identity says which row of the permission table this process is in
// (docs/permissions.md). Whether the row is enough the other checks find out.
func (d *Diagnosis) identity(sys topology.FS, t *Target) {
	self, err := sys.Process(os.Getpid())
	if err != nil {
		d.fail("identity", err, "mount /proc where numa-agent runs")
		return
	}
	row := "another uid than the server's"
	same := self.UIDs == t.UIDs && self.GIDs == t.GIDs
	switch {
	case same:
		row = "the server's own uid and gid"
	case self.UIDs == t.UIDs:
		row = "the server's uid, but another gid"
	}
	ptrace := self.Can(topology.CapSysPtrace)
	if ptrace {
		row += ", with CAP_SYS_PTRACE"
	} else {
		row += ", without CAP_SYS_PTRACE"
	}
	status, fix := OK, ""
	if !same && !ptrace {
		status, fix = Warn, identityFix
	}
	d.add("identity", status, fix, "%s (this process %d:%d, the server %d:%d)", row, self.UIDs.Effective, self.GIDs.Effective, t.UIDs.Effective, t.GIDs.Effective)
	d.yama(ptrace)
}

// yama warns where the Yama module lets no process read another's memory
// without CAP_SYS_PTRACE (Documentation/admin-guide/LSM/Yama.rst).
func (d *Diagnosis) yama(ptrace bool) {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil || ptrace {
		return // a kernel without it, or no matter
	}
	if scope := strings.TrimSpace(string(b)); scope != "0" {
		d.add("yama", Warn, "give CAP_SYS_PTRACE, or sysctl kernel.yama.ptrace_scope=0",
			"kernel.yama.ptrace_scope is %s: reading the server's memory takes CAP_SYS_PTRACE", scope)
	}
}

const identityFix = "run as the server's own uid and gid, or give CAP_SYS_PTRACE as an ambient capability (systemd: AmbientCapabilities=CAP_SYS_PTRACE; Debian's redis-server.service needs this)"

func (d *Diagnosis) reading(ctx context.Context, t *Target) {
	ks, err := keyspace.Attach(ctx, t.PID, t.Info.Server, t.Info.Version)
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.fail("keyspace", err, identityFix)
	case err != nil:
		d.fail("keyspace", keyspaceError(err), "supported is Redis 7.0 with its symbols in .dynsym, as distributions build it")
	default:
		l := ks.Layout()
		d.add("keyspace", OK, "", "layout %s, %d databases, proven on %d of %d entries", l.Family, l.Databases, l.Proven, l.Names)
	}
}

func (d *Diagnosis) placement(sys topology.FS, t *Target) {
	maps, err := sys.NumaMaps(t.PID)
	if err != nil {
		d.fail("numa_maps", err, identityFix)
		return
	}
	d.add("numa_maps", OK, "", "%d mappings", len(maps))
	if len(maps) == 0 {
		return
	}
	// Asking where a page lies takes the same permission as moving it.
	if err := topology.PageNodes(t.PID, []uint64{maps[0].Start}, make([]int32, 1)); err != nil {
		fix := identityFix
		if inContainer() {
			fix = "use a seccomp profile that allows move_pages: every container runtime's default forbids it, whatever the capabilities"
		}
		d.fail("move_pages", err, fix)
		return
	}
	d.add("move_pages", OK, "", "allowed")
}

// inContainer guesses from the files that runtimes leave. It only chooses
// between two hints.
func inContainer() bool {
	for _, name := range []string{"/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"} {
		if matches, _ := filepath.Glob(name); len(matches) > 0 {
			return true
		}
	}
	return false
}

func (d *Diagnosis) threads(sys topology.FS, t *Target, m topology.Machine) {
	threads, err := sys.Threads(t.PID, m)
	if err != nil {
		d.fail("main thread", processError(fmt.Sprintf("looking at the threads of pid %d", t.PID), err), "")
		return
	}
	main := threads[0]
	nodes := m.NodesOfCPUs(main.AllowedCPUs)
	status, fix := OK, ""
	if nodes.Len() > 1 {
		status, fix = Warn, "pin the server to the CPUs of one node (systemd: CPUAffinity=, redis.conf: server_cpulist), so that its pages stay local"
	}
	d.add("main thread", status, fix, "last ran on CPU %d of node %d; may run on nodes %v; memory allowed on nodes %v", main.CPU, main.Node, nodes, t.AllowedNodes)
}
