package topology

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"numa-agent/internal/linux"
	"numa-agent/internal/redistest"
)

// fixturePID is the redis-server of the fixture with two nodes.
const fixturePID = 99

func TestProcessFixture(t *testing.T) {
	p, err := fixture("debian-6.1-2nodes").Process(fixturePID)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Can(CapSysPtrace) || !p.Can(CapSysNice) || p.Can(63) {
		t.Errorf("capabilities %#x of a process of root", p.CapEffective)
	}
	p.Cmdline, p.CapEffective = nil, 0 // a title padded with blanks
	want := Process{PID: fixturePID, PPID: p.PPID, StartTicks: p.StartTicks, Comm: "redis-server", Exe: "/usr/bin/redis-check-rdb",
		NSPIDs: []int{fixturePID}, AllowedCPUs: NewIDSet(1), AllowedNodes: NewIDSet(0, 1)}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if p.StartTicks == 0 || !p.IsServer() || p.IsSentinel() {
		t.Errorf("%+v", p)
	}
}

func TestThreadsFixture(t *testing.T) {
	fs := fixture("debian-6.1-2nodes")
	m, err := fs.Machine()
	if err != nil {
		t.Fatal(err)
	}
	threads, err := fs.Threads(fixturePID, m)
	if err != nil {
		t.Fatal(err)
	}
	main := Thread{TID: fixturePID, Name: "redis-server", CPU: 1, Node: 1, AllowedCPUs: NewIDSet(1)}
	if diff := cmp.Diff(main, threads[0]); diff != "" {
		t.Error(diff)
	}
	if !slices.ContainsFunc(threads, func(t Thread) bool { return t.Name == "bio_lazy_free" }) {
		t.Errorf("%+v", threads)
	}
}

func TestIsServer(t *testing.T) {
	for _, c := range []struct {
		p                Process
		server, sentinel bool
	}{
		{Process{Comm: "redis-server", Exe: "/usr/bin/redis-check-rdb"}, true, false},
		{Process{Comm: "io_thd_1", Exe: "/usr/local/bin/valkey-server (deleted)"}, true, false},
		{Process{Comm: "redis-server", Cmdline: []string{"redis-server *:26379 [sentinel]"}}, true, true},
		{Process{Comm: "redis-sentinel"}, true, true},
		{Process{Comm: "redis-cli", Exe: "/usr/bin/redis-cli"}, false, false},
	} {
		if c.p.IsServer() != c.server || c.p.IsSentinel() != c.sentinel {
			t.Errorf("%+v: server %v, sentinel %v", c.p, c.p.IsServer(), c.p.IsSentinel())
		}
	}
}

func TestSelf(t *testing.T) {
	fs := DefaultFS()
	p, err := fs.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.PPID != os.Getppid() || p.UIDs.Effective != os.Geteuid() || p.GIDs.Real != os.Getgid() || p.AllowedCPUs.Len() == 0 || p.AllowedNodes.Len() == 0 {
		t.Errorf("%+v", p)
	}
	m, err := fs.Machine()
	if err != nil {
		t.Fatal(err)
	}
	threads, err := fs.Threads(os.Getpid(), m)
	if err != nil || threads[0].TID != os.Getpid() || !m.HasNode(threads[0].Node) {
		t.Errorf("%+v, %v", threads, err)
	}
}

func TestVanished(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid, fs := cmd.Process.Pid, DefaultFS()
	for name, do := range map[string]func() error{
		"Process":     func() error { _, err := fs.Process(pid); return err },
		"Threads":     func() error { _, err := fs.Threads(pid, Machine{}); return err },
		"NumaMaps":    func() error { _, err := fs.NumaMaps(pid); return err },
		"ListenAddrs": func() error { _, _, err := fs.ListenAddrs(pid); return err },
		"PageNodes":   func() error { return PageNodes(pid, make([]uint64, 1), make([]int32, 1)) },
	} {
		if err := do(); !errors.Is(err, ErrProcessGone) {
			t.Errorf("%s: %v, want ErrProcessGone", name, err)
		}
	}
}

func TestListeners(t *testing.T) {
	fs := DefaultFS()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("cannot listen on %s: %v", address, err)
			continue
		}
		defer l.Close()
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		asked := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		if asked.Addr().IsUnspecified() {
			asked = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
		}
		if pid, err := fs.ListenerPID(asked); pid != os.Getpid() || err != nil {
			t.Errorf("%v: pid %d, %v", asked, pid, err)
		}
		tcp, _, err := fs.ListenAddrs(os.Getpid())
		if err != nil || !slices.ContainsFunc(tcp, func(a netip.AddrPort) bool { return a.Port() == addr.Port() }) {
			t.Errorf("%v is not among %v (%v)", addr, tcp, err)
		}
		l.Close()
		if _, err := fs.ListenerPID(asked); !errors.Is(err, ErrNoListener) {
			t.Errorf("%v, closed: %v", asked, err)
		}
	}
}

func TestUnixListener(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, unix, err := DefaultFS().ListenAddrs(os.Getpid())
	if err != nil || !slices.Contains(unix, socket) {
		t.Errorf("%s is not among %v (%v)", socket, unix, err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if pid, err := PeerPID(conn.(*net.UnixConn)); pid != os.Getpid() || err != nil {
		t.Errorf("pid %d, %v", pid, err)
	}
}

// TestServers finds real servers, but not the child that saves one of them.
func TestServers(t *testing.T) {
	s := redistest.Start(t, "--rdb-key-save-delay", "10000000")
	s.Set(t.Context(), "key", "value", 0)
	if err := s.BgSave(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	defer s.FlushAll(t.Context()) // ends the child, which would outlive its parent
	servers, err := DefaultFS().Servers()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range servers {
		if p.PPID == s.PID {
			t.Errorf("the child %d is listed", p.PID)
		}
		if p.PID == s.PID {
			found++
		}
	}
	if found != 1 || !strings.Contains(s.Info(t.Context(), "persistence").Val(), "rdb_bgsave_in_progress:1") {
		t.Errorf("found %d times, of %d servers", found, len(servers))
	}
}

func TestPageNodes(t *testing.T) {
	memory := make([]byte, 1<<20)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	base := uint64(uintptr(unsafe.Pointer(&memory[0])))&^4095 + 4096
	pages := []uint64{base, base + 4096, 4096}
	nodes := make([]int32, len(pages))
	if err := PageNodes(os.Getpid(), pages, nodes); err != nil {
		t.Fatal(err)
	}
	if nodes[0] < 0 || nodes[1] < 0 || nodes[2] != -int32(linux.EFAULT) {
		t.Errorf("%v", nodes)
	}
	if err := PageNodes(os.Getpid(), pages, nodes[:1]); err == nil {
		t.Error("too little room for the answers is taken")
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Uid:\t0\t0\t0\t0\nNSpid:\t7\t1\nCpus_allowed_list:\t0-1\n")
	f.Add("Gid:\t0\nMems_allowed_list:\t0-99999999")
	f.Fuzz(func(t *testing.T, text string) {
		var p Process
		if err := parseStatus(strings.NewReader(text), &p); err == nil && (p.UIDs.Real < 0 || p.AllowedCPUs.Len() > maxID+1) {
			t.Errorf("%+v", p)
		}
	})
}
