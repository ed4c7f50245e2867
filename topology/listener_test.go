package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeTree writes files and symbolic links, by path, for a /proc or /sys.
func fakeTree(t *testing.T, files map[string]string, links map[string]string) FS {
	t.Helper()
	dir := t.TempDir()
	for _, tree := range []map[string]string{files, links} {
		for name := range tree {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return NewFS(dir, "")
}

// Lines of /proc/net/tcp and tcp6 (Documentation/networking/proc_net_tcp.rst):
// port 6379 on 127.0.0.1, on 0.0.0.0 and on ::, inode 5, uid 999; and a
// connection to it, inode 6.
const (
	tcpHead     = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	tcpTail     = " 00000000:00000000 00:00000000 00000000   999        0 %d 1 0000000000000000 100 0 0 10 0\n"
	tcpLoopback = "   0: 0100007F:18EB 00000000:0000 0A" + tcpTail
	tcpAny      = "   0: 00000000:18EB 00000000:0000 0A" + tcpTail
	tcpPeer     = "   1: 0100007F:18EB 0100007F:C350 01" + tcpTail
	tcp6Any     = "   0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A" + tcpTail
	// In a dual-stack socket bound to ::ffff:127.0.0.1.
	tcp6Mapped = "   0: 0000000000000000FFFF00000100007F:18EB 00000000000000000000000000000000:0000 0A" + tcpTail
)

// procStat is the line of a process that started at a number of clock ticks.
func procStat(pid, start int) string {
	return fmt.Sprintf("%d (redis-server) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0%s\n", pid, start, strings.Repeat(" 0", 28))
}

func TestListenerPIDMatches(t *testing.T) {
	for _, tt := range []struct {
		name, tcp, tcp6 string
		asked           string
		want            int // 0: nobody
	}{
		{"exact", fmt.Sprintf(tcpLoopback, 5), "", "127.0.0.1:6379", 100},
		{"exact, asked mapped", fmt.Sprintf(tcpLoopback, 5), "", "[::ffff:127.0.0.1]:6379", 100},
		{"exact, listens mapped", "", fmt.Sprintf(tcp6Mapped, 5), "127.0.0.1:6379", 100},
		{"wildcard", fmt.Sprintf(tcpAny, 5), "", "192.0.2.1:6379", 100},
		{"wildcard of both families", "", fmt.Sprintf(tcp6Any, 5), "127.0.0.1:6379", 100},
		{"wildcard, zone", "", fmt.Sprintf(tcp6Any, 5), "[fe80::1%eth0]:6379", 100},
		{"exact before wildcard", fmt.Sprintf(tcpAny, 7) + fmt.Sprintf(tcpLoopback, 5), fmt.Sprintf(tcp6Any, 7), "127.0.0.1:6379", 100},
		{"own family's wildcard", fmt.Sprintf(tcpAny, 7), fmt.Sprintf(tcp6Any, 5), "[::1]:6379", 100},
		{"IPv4's wildcard is not IPv6's", fmt.Sprintf(tcpAny, 5), "", "[::1]:6379", 0},
		{"other port", fmt.Sprintf(tcpAny, 5), "", "127.0.0.1:6380", 0},
		{"other address", fmt.Sprintf(tcpLoopback, 5), "", "127.0.0.2:6379", 0},
		{"a connection", fmt.Sprintf(tcpPeer, 5), "", "127.0.0.1:6379", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sys := fakeTree(t, map[string]string{
				"self/net/tcp": tcpHead + tt.tcp, "self/net/tcp6": tcpHead + tt.tcp6,
				"100/stat": procStat(100, 1), "200/stat": procStat(200, 1),
			}, map[string]string{"100/fd/3": "socket:[5]", "200/fd/3": "socket:[7]"})
			pid, err := sys.ListenerPID(netip.MustParseAddrPort(tt.asked))
			if pid != tt.want || errors.Is(err, ErrNoListener) != (tt.want == 0) {
				t.Errorf("pid %d, %v, want %d", pid, err, tt.want)
			}
		})
	}
}

func TestListenerPIDOwner(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		links map[string]string
		want  int
		// Of the error, when want is 0.
		permission bool
		says       string
	}{
		{name: "the oldest, though its pid is higher",
			files: map[string]string{"100/stat": procStat(100, 50), "300/stat": procStat(300, 40)},
			links: map[string]string{"100/fd/3": "socket:[5]", "300/fd/9": "socket:[5]"}, want: 300},
		{name: "no process holds it",
			files: map[string]string{"100/stat": procStat(100, 1)},
			links: map[string]string{"100/fd/0": "/dev/null"}, says: "PID namespace"},
		{name: "links that may not be read", // not links at all: reading them fails too
			files:      map[string]string{"100/stat": procStat(100, 1), "100/fd/0": "", "100/fd/3": ""},
			permission: true, says: "uid 999"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["self/net/tcp"] = tcpHead + fmt.Sprintf(tcpAny, 5)
			pid, err := fakeTree(t, tt.files, tt.links).ListenerPID(netip.MustParseAddrPort("127.0.0.1:6379"))
			if pid != tt.want {
				t.Fatalf("pid %d, %v, want %d", pid, err, tt.want)
			}
			if tt.want == 0 && (errors.Is(err, fs.ErrPermission) != tt.permission || errors.Is(err, ErrNoListener) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error %q: permission %t wanted, and %q", err, tt.permission, tt.says)
			}
		})
	}
}

// TestListenerPIDOtherFamily is the case of TestListenerPIDMatches that the
// kernel can be asked for: IPv4's wildcard does not take IPv6.
func TestListenerPIDOtherFamily(t *testing.T) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	if pid, err := DefaultFS().ListenerPID(netip.AddrPortFrom(netip.IPv6Loopback(), port)); !errors.Is(err, ErrNoListener) {
		t.Errorf("pid %d, %v, want ErrNoListener", pid, err)
	}
}
