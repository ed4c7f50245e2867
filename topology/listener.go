package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/prometheus/procfs"

	"numa-agent/internal/linux"
)

// tcpListen is the state of a listening socket in /proc/net/tcp
// (include/net/tcp_states.h, TCP_LISTEN).
const tcpListen = 10

// listener is a listening TCP socket.
type listener struct {
	addr  netip.AddrPort
	inode uint64
	uid   uint64
}

// listeners reads /proc/PID/net/tcp and tcp6: the listening sockets of the
// network namespace of pid. pid 0 is this process.
func (f FS) listeners(pid int) ([]listener, error) {
	proc := f.proc + "/self"
	if pid != 0 {
		proc = f.procPath(pid)
	}
	mount, err := procfs.NewFS(proc)
	if err != nil {
		return nil, processError(err)
	}
	var found []listener
	// Netlink would be quicker, but speaks of our own network namespace alone.
	for _, read := range []func() (procfs.NetTCP, error){mount.NetTCP, mount.NetTCP6} { //nolint:staticcheck // see above
		lines, err := read()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without that family
		}
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			ip, ok := netip.AddrFromSlice(l.LocalAddr)
			if ok && l.St == tcpListen && l.LocalPort <= 65535 {
				found = append(found, listener{netip.AddrPortFrom(ip.Unmap(), uint16(l.LocalPort)), l.Inode, l.UID})
			}
		}
	}
	return found, nil
}

// ListenerPID returns the process that listens on a TCP address of this
// network namespace. The error is ErrNoListener when nobody does, and
// fs.ErrPermission when the process may not be seen. Where forked children
// hold the socket too, it is the oldest of them.
func (f FS) ListenerPID(addr netip.AddrPort) (int, error) {
	sockets, err := f.listeners(0)
	if err != nil {
		return 0, fmt.Errorf("finding who listens on %v: %w", addr, err)
	}
	// The address itself goes before the wildcard, as it does for the kernel.
	i := slices.IndexFunc(sockets, func(l listener) bool { return l.addr == addr })
	if i < 0 {
		i = slices.IndexFunc(sockets, func(l listener) bool { return l.addr.Port() == addr.Port() && l.addr.Addr().IsUnspecified() })
	}
	if i < 0 {
		return 0, fmt.Errorf("finding who listens on %v: %w", addr, ErrNoListener)
	}
	pid, err := f.socketOwner(sockets[i].inode)
	if err != nil {
		return 0, fmt.Errorf("finding who listens on %v: %w", addr, err)
	}
	if pid == 0 {
		return 0, fmt.Errorf("finding who listens on %v: a process of uid %d whose open files may not be read: run as that user, or with CAP_SYS_PTRACE: %w",
			addr, sockets[i].uid, fs.ErrPermission)
	}
	return pid, nil
}

// socketOwner returns the oldest process that has the socket open, or 0.
func (f FS) socketOwner(inode uint64) (int, error) {
	mount, err := procfs.NewFS(f.proc)
	if err != nil {
		return 0, err
	}
	procs, err := mount.AllProcs()
	if err != nil {
		return 0, err
	}
	link := fmt.Sprintf("socket:[%d]", inode)
	owner, oldest := 0, uint64(0)
	for _, p := range procs {
		targets, err := p.FileDescriptorTargets()
		if err != nil || !slices.Contains(targets, link) {
			continue // gone or not ours to see: then it is not found
		}
		stat, err := p.Stat()
		if err == nil && (owner == 0 || stat.Starttime < oldest) {
			owner, oldest = p.PID, stat.Starttime
		}
	}
	return owner, nil
}

// ListenAddrs returns the addresses that process pid listens on: TCP in its
// own network namespace, and unix sockets by path.
func (f FS) ListenAddrs(pid int) (tcp []netip.AddrPort, unix []string, err error) {
	proc, err := f.procfs(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	targets, err := proc.FileDescriptorTargets()
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	holds := func(inode uint64) bool { return slices.Contains(targets, fmt.Sprintf("socket:[%d]", inode)) }
	sockets, err := f.listeners(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, err)
	}
	for _, l := range sockets {
		if holds(l.inode) {
			tcp = append(tcp, l.addr)
		}
	}
	mount, err := procfs.NewFS(f.procPath(pid))
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	sums, err := mount.NetUNIX()
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, err)
	}
	for _, l := range sums.Rows {
		// Listening sockets accept connections (__SO_ACCEPTCON); abstract ones
		// begin with @.
		if l.Flags&acceptsConnections != 0 && l.Path != "" && l.Path[0] == '/' && holds(l.Inode) {
			unix = append(unix, l.Path)
		}
	}
	return tcp, unix, nil
}

// acceptsConnections is __SO_ACCEPTCON (include/uapi/linux/net.h).
const acceptsConnections = 1 << 16

// PeerPID returns the process that listens at the other end of a connection.
func PeerPID(conn *net.UnixConn) (int, error) { return linux.PeerPID(conn) }
