package linux

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// PeerPID returns the process at the other end of a unix socket: for a server,
// the one that called listen (SO_PEERCRED, unix(7)). It is an error if that
// process is not in this PID namespace: the kernel then says 0, which to other
// calls means the caller.
func PeerPID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("asking for the peer of a unix socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("asking for the peer of a unix socket: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("asking for the peer of a unix socket: %w", credErr)
	}
	if cred.Pid == 0 {
		return 0, errors.New("asking for the peer of a unix socket: it runs in another PID namespace: run in the same one (in Kubernetes with shareProcessNamespace)")
	}
	return int(cred.Pid), nil
}
