package topology

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"numa-agent/internal/redistest"
)

// Lines of /proc/net/unix, as the kernel pads them: listening and connected.
const (
	unixHead      = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	unixListening = "0000000000000000: 00000002 00000000 00010000 0001 01 %5d %s\n"
	unixConnected = "0000000000000000: 00000003 00000000 00000000 0001 03 %5d %s\n"
)

func TestListenAddrsFake(t *testing.T) {
	for _, tt := range []struct {
		name, unix string
		want       []string
	}{
		{"none", "", nil},
		{"short inode", fmt.Sprintf(unixListening, 5, "/run/redis.sock"), []string{"/run/redis.sock"}},
		{"long inode", fmt.Sprintf(unixListening, 1234567, "/run/redis.sock"), []string{"/run/redis.sock"}},
		{"blanks", fmt.Sprintf(unixListening, 5, "/run/my  redis/s "), []string{"/run/my  redis/s "}},
		{"a connection has the path too", fmt.Sprintf(unixConnected, 5, "/run/redis.sock"), nil},
		{"of another process", fmt.Sprintf(unixListening, 6, "/run/redis.sock"), nil},
		{"abstract", fmt.Sprintf(unixListening, 5, "@/run/redis.sock"), nil},
		{"without a name", strings.TrimSuffix(fmt.Sprintf(unixListening, 5, ""), " \n") + "\n", nil},
		{"newlines in the name of another", fmt.Sprintf(unixListening, 6, "/run/a\nb\n\n: x") + fmt.Sprintf(unixListening, 5, "/run/s"), []string{"/run/s"}},
		{"inode out of range", fmt.Sprintf(unixListening, 5, "/run/s") + "0: 0 0 00010000 1 1 99999999999999999999 /x\n", []string{"/run/s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sys := fakeTree(t, map[string]string{
				"100/stat":     procStat(100, 1),
				"100/net/tcp":  tcpHead + fmt.Sprintf(tcpLoopback, 7) + fmt.Sprintf(tcpAny, 8),
				"100/net/unix": unixHead + tt.unix,
			}, map[string]string{"100/fd/3": "socket:[5]", "100/fd/4": "socket:[1234567]", "100/fd/5": "socket:[7]"})
			tcp, unix, err := sys.ListenAddrs(100)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, unix); diff != "" {
				t.Error(diff)
			}
			if want := netip.MustParseAddrPort("127.0.0.1:6379"); !slices.Equal(tcp, []netip.AddrPort{want}) {
				t.Errorf("TCP %v, want %v alone", tcp, want)
			}
		})
	}
}

// TestListenAddrsServer: a server's addresses are its own, and ours ours, even
// where somebody binds a name with a newline.
func TestListenAddrsServer(t *testing.T) {
	server := redistest.Start(t)
	l, err := net.Listen("unix", "@numa-agent-test\nnot a line")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	tcp, unix, err := DefaultFS().ListenAddrs(server.PID)
	if err != nil || len(tcp) != 0 || !slices.Equal(unix, []string{server.Socket}) {
		t.Errorf("the server: %v, %q, %v, want %q alone", tcp, unix, err, server.Socket)
	}
	tcp, unix, err = DefaultFS().ListenAddrs(os.Getpid())
	if err != nil || !slices.Contains(tcp, own.Addr().(*net.TCPAddr).AddrPort()) || slices.Contains(unix, server.Socket) {
		t.Errorf("this process: %v, %q, %v", tcp, unix, err)
	}
}

func FuzzUnixPaths(f *testing.F) {
	f.Add(unixHead + fmt.Sprintf(unixListening, 5, "/run/s"))
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := unixPaths(strings.NewReader(text), func(uint64) bool { return true })
		if err != nil {
			return
		}
		for _, path := range paths {
			if path[0] != '/' || !strings.Contains(text, " "+path) || strings.Contains(path, "\n") {
				t.Errorf("%q is no path of %q", path, text)
			}
		}
		if none, err := unixPaths(strings.NewReader(text), func(uint64) bool { return false }); err != nil || len(none) > 0 {
			t.Errorf("%q of inodes that are not held, %v", none, err)
		}
	})
}
