package topology

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"

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
// fs.ErrPermission when the process may be one whose open files may not be
// read. Where forked children hold the socket too, it is the oldest of them.
func (f FS) ListenerPID(addr netip.AddrPort) (int, error) {
	pid, err := f.listenerPID(netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()))
	if err != nil {
		return 0, fmt.Errorf("finding who listens on %v: %w", addr, err)
	}
	return pid, nil
}

func (f FS) listenerPID(addr netip.AddrPort) (int, error) {
	sockets, err := f.listeners(0)
	if err != nil {
		return 0, err
	}
	// The kernel's order: the address itself, its family's wildcard, and for
	// IPv4 that of IPv6, whose sockets take both unless told not to (ipv6(7)).
	ips := []netip.Addr{addr.Addr(), netip.IPv6Unspecified()}
	if addr.Addr().Is4() {
		ips = slices.Insert(ips, 1, netip.IPv4Unspecified())
	}
	for _, ip := range ips {
		i := slices.IndexFunc(sockets, func(l listener) bool { return l.addr == netip.AddrPortFrom(ip, addr.Port()) })
		if i >= 0 {
			return f.socketOwner(sockets[i])
		}
	}
	return 0, ErrNoListener
}

// socketOwner returns the oldest process that has the socket open.
func (f FS) socketOwner(l listener) (int, error) {
	mount, err := procfs.NewFS(f.proc)
	if err != nil {
		return 0, err
	}
	procs, err := mount.AllProcs()
	if err != nil {
		return 0, err
	}
	owner, oldest, denied := 0, uint64(0), false
	for _, p := range procs {
		targets, err := openFiles(p)
		denied = denied || errors.Is(err, fs.ErrPermission)
		if err != nil || !slices.Contains(targets, socketLink(l.inode)) {
			continue
		}
		stat, err := p.Stat()
		if err == nil && (owner == 0 || stat.Starttime < oldest) {
			owner, oldest = p.PID, stat.Starttime
		}
	}
	switch {
	case owner != 0:
		return owner, nil
	case denied:
		return 0, fmt.Errorf("a process of uid %d whose open files may not be read: run as that user and group, or with CAP_SYS_PTRACE: %w", l.uid, fs.ErrPermission)
	}
	return 0, fmt.Errorf("a process of uid %d that /proc does not show: run in its PID namespace (in Kubernetes with shareProcessNamespace) and without hidepid", l.uid)
}

// socketLink is what a file descriptor of the socket links to (proc(5), fd).
func socketLink(inode uint64) string { return fmt.Sprintf("socket:[%d]", inode) }

// openFiles returns what the file descriptors of a process link to. Of a
// process of our own user the folder can be listed where its links may not be
// read, as when its group differs; procfs leaves those empty.
func openFiles(p procfs.Proc) ([]string, error) {
	targets, err := p.FileDescriptorTargets()
	if err != nil {
		return nil, err
	}
	if len(targets) > 0 && !slices.ContainsFunc(targets, func(t string) bool { return t != "" }) {
		return nil, fmt.Errorf("open files of pid %d: %w", p.PID, fs.ErrPermission)
	}
	return targets, nil
}

// ListenAddrs returns the addresses that process pid listens on: TCP in its
// own network namespace, and unix sockets by path.
func (f FS) ListenAddrs(pid int) (tcp []netip.AddrPort, unix []string, err error) {
	proc, err := f.procfs(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	targets, err := openFiles(proc)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: run as its user and group, or with CAP_SYS_PTRACE", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	holds := func(inode uint64) bool { return slices.Contains(targets, socketLink(inode)) }
	sockets, err := f.listeners(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, err)
	}
	for _, l := range sockets {
		if holds(l.inode) {
			tcp = append(tcp, l.addr)
		}
	}
	file, err := os.Open(f.procPath(pid, "net/unix"))
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	defer file.Close()
	unix, err = unixPaths(file, holds)
	if err != nil {
		return nil, nil, fmt.Errorf("finding where pid %d listens: %w", pid, processError(err))
	}
	return tcp, unix, nil
}

// unixListener matches a listening socket with a path in /proc/net/unix: its
// flags are __SO_ACCEPTCON (net/unix/af_unix.c, unix_seq_show;
// include/uapi/linux/net.h), then come its inode and its path.
var unixListener = regexp.MustCompile(`^\S+: \S+ \S+ 00010000 \S+ \S+ +(\d+) (/.*)$`)

// unixPaths returns the paths of the listening sockets whose inodes are held.
// Any process may give its socket a name with blanks and newlines, which the
// kernel does not escape, so lines that make no sense are skipped, and who
// really listens on a path is for PeerPID to say.
func unixPaths(r io.Reader, holds func(inode uint64) bool) ([]string, error) {
	var paths []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		match := unixListener.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		if inode, err := strconv.ParseUint(match[1], 10, 64); err == nil && holds(inode) {
			paths = append(paths, match[2])
		}
	}
	return paths, lines.Err()
}

// PeerPID returns the process that listens at the other end of a connection.
func PeerPID(conn *net.UnixConn) (int, error) { return linux.PeerPID(conn) }
