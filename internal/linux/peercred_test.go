package linux

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestPeerPID(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if pid, err := PeerPID(conn); err != nil || pid != os.Getpid() {
		t.Errorf("PeerPID() = %d, %v, want %d", pid, err, os.Getpid())
	}
	conn.Close()
	if pid, err := PeerPID(conn); err == nil {
		t.Errorf("PeerPID() of a closed connection = %d", pid)
	}
}
