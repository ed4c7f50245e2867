package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"numa-agent/internal/linux"
	"numa-agent/topology"
)

// Target is one running server, found and identified: its process here and a
// connection to it.
type Target struct {
	topology.Process
	Info   Info
	Client *redis.Client
	pidfd  *linux.PidFD
}

// Info is what the server says of itself (INFO).
type Info struct {
	Server    string // "redis" or "valkey"
	Version   string
	RunID     string
	ProcessID int // in the server's own PID namespace
	Policy    string
	Uptime    time.Duration
	Loading   bool
	Child     bool  // a fork for BGSAVE, AOF rewrite or a module runs
	Databases []int // with keys in them
}

// LFU reports whether the server keeps LFU counters instead of access times.
func (i Info) LFU() bool { return strings.HasSuffix(i.Policy, "-lfu") }

// Find finds the server that cfg means, connects to it and makes sure that
// the process found is the server that answers.
func Find(ctx context.Context, cfg Config, sys topology.FS) (*Target, error) {
	opts, err := redisOptions(cfg)
	if err != nil {
		return nil, err
	}
	pid := cfg.PID
	if opts == nil && pid == 0 {
		if pid, err = onlyServer(sys); err != nil {
			return nil, err
		}
	}
	if opts == nil {
		if opts, err = optionsOf(cfg, sys, pid); err != nil {
			return nil, err
		}
	}
	listener, err := listenerOf(ctx, opts, sys)
	if err != nil {
		return nil, err
	}
	if pid != 0 && pid != listener {
		return nil, fmt.Errorf("%w: pid %d does not listen on %s, pid %d does", ErrTarget, pid, opts.Addr, listener)
	}
	return open(ctx, opts, sys, listener)
}

// open identifies the server of process pid and connects to it.
func open(ctx context.Context, opts *redis.Options, sys topology.FS, pid int) (*Target, error) {
	pidfd, err := linux.OpenPidFD(pid)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	t := &Target{pidfd: pidfd, Client: redis.NewClient(opts)}
	if err := t.identify(ctx, sys, pid); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// identify makes sure that process pid is a server, and the one that answers.
func (t *Target) identify(ctx context.Context, sys topology.FS, pid int) (err error) {
	if t.Process, err = sys.Process(pid); err != nil {
		return processError(fmt.Sprintf("looking at pid %d", pid), err)
	}
	if !t.IsServer() {
		return notAServer(t.Process)
	}
	if t.Info, err = t.ReadInfo(ctx); err != nil {
		return err
	}
	own := pid
	if n := len(t.NSPIDs); n > 0 {
		own = t.NSPIDs[n-1]
	}
	if said := t.Info.ProcessID; said != 0 && said != own {
		return fmt.Errorf("%w: the server at %s says its pid is %d, but pid %d listens there: is it behind a proxy?",
			ErrTarget, t.Client.Options().Addr, said, own)
	}
	return nil
}

func notAServer(p topology.Process) error {
	return fmt.Errorf("%w: pid %d is %s, not a Redis or Valkey server", ErrTarget, p.PID, p.Comm)
}

// Alive reports whether the process found still runs.
func (t *Target) Alive() bool { return t.pidfd.Alive() }

// Close ends the connection.
func (t *Target) Close() error {
	return errors.Join(t.Client.Close(), t.pidfd.Close())
}

// connectError is for what fails before there is a target: all but a lack of
// permission means that there is none.
func connectError(doing string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
}

// processError is for what fails on a process: only its end means that there
// is no target.
func processError(doing string, err error) error {
	if errors.Is(err, topology.ErrProcessGone) || errors.Is(err, topology.ErrNoNUMA) {
		return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// onlyServer returns the pid of the one server that runs here.
func onlyServer(sys topology.FS) (int, error) {
	servers, err := sys.Servers()
	if err != nil {
		return 0, fmt.Errorf("looking for servers: %w", err)
	}
	servers = slices.DeleteFunc(servers, topology.Process.IsSentinel)
	switch len(servers) {
	case 1:
		return servers[0].PID, nil
	case 0:
		return 0, fmt.Errorf("%w: no Redis or Valkey server runs here that I can see: name one with --redis.addr or --pid", ErrTarget)
	}
	pids := make([]string, len(servers))
	for i, s := range servers {
		pids[i] = strconv.Itoa(s.PID)
	}
	return 0, fmt.Errorf("%w: %d servers run here (pids %s): choose one with --redis.addr or --pid",
		ErrTarget, len(servers), strings.Join(pids, ", "))
}

// redisOptions reads cfg.Addr. Without one it returns nil.
func redisOptions(cfg Config) (*redis.Options, error) {
	if cfg.Addr == "" {
		return nil, nil
	}
	addr := cfg.Addr
	switch {
	case strings.Contains(addr, "://"):
	case strings.HasPrefix(addr, "/"):
		addr = "unix://" + addr
	default:
		addr = "redis://" + addr
	}
	opts, err := redis.ParseURL(addr)
	if err != nil && strings.Contains(addr, "@") {
		// The parser's errors repeat parts of the URL, which may be the password's.
		return nil, fmt.Errorf("%w: address %q is no URL of a server: is the password percent-encoded?", ErrUsage, redact(cfg.Addr))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", ErrUsage, cfg.Addr, err)
	}
	return withDefaults(opts, cfg), nil
}

// redact hides all but the scheme and host of an address that has a password.
func redact(addr string) string {
	scheme := ""
	if before, _, ok := strings.Cut(addr, "://"); ok && !strings.Contains(before, "@") {
		scheme = before + "://"
	}
	return scheme + "…" + addr[strings.LastIndex(addr, "@"):]
}

func withDefaults(opts *redis.Options, cfg Config) *redis.Options {
	if cfg.Username != "" {
		opts.Username = cfg.Username
	}
	if cfg.Password != "" {
		opts.Password = cfg.Password
	}
	opts.DB = 0 // databases are named by those who use them
	opts.ClientName = "numa-agent"
	opts.DisableIdentity = true // CLIENT SETINFO: unknown to 7.0, not in the minimal ACL
	opts.Protocol = 2           // HELLO is not in every ACL
	opts.PoolSize = 2
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	return opts
}

// optionsOf finds an address that pid listens on.
func optionsOf(cfg Config, sys topology.FS, pid int) (*redis.Options, error) {
	// Checked first, so that a wrong pid is called one.
	p, err := sys.Process(pid)
	if err != nil {
		return nil, processError(fmt.Sprintf("looking at pid %d", pid), err)
	}
	if p.IsSentinel() {
		return nil, fmt.Errorf("%w: pid %d is a Sentinel, which keeps no data", ErrTarget, pid)
	}
	if !p.IsServer() {
		return nil, notAServer(p)
	}
	tcp, unix, err := sys.ListenAddrs(pid)
	if err != nil {
		return nil, processError(fmt.Sprintf("finding where pid %d listens", pid), err)
	}
	switch {
	case len(unix) > 0:
		return withDefaults(&redis.Options{Network: "unix", Addr: unix[0]}, cfg), nil
	case len(tcp) > 0:
		addr := tcp[0]
		if addr.Addr().IsUnspecified() {
			loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			if addr.Addr().Is6() {
				loopback = netip.IPv6Loopback()
			}
			addr = netip.AddrPortFrom(loopback, addr.Port())
		}
		return withDefaults(&redis.Options{Network: "tcp", Addr: addr.String()}, cfg), nil
	}
	return nil, fmt.Errorf("%w: pid %d listens on no address of this network namespace: name one with --redis.addr", ErrTarget, pid)
}

// listenerOf returns the process that listens at the address.
func listenerOf(ctx context.Context, opts *redis.Options, sys topology.FS) (int, error) {
	doing := "finding the process that listens on " + opts.Addr
	if opts.Network == "unix" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", opts.Addr)
		if err != nil {
			return 0, connectError(doing, err)
		}
		defer conn.Close()
		pid, err := topology.PeerPID(conn.(*net.UnixConn))
		if err != nil {
			return 0, connectError(doing, err)
		}
		return pid, nil
	}
	host, portText, err := net.SplitHostPort(opts.Addr)
	if err != nil {
		return 0, fmt.Errorf("%w: address %q: %w", ErrUsage, opts.Addr, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: address %q: port %q", ErrUsage, opts.Addr, portText)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return 0, connectError(doing, err)
	}
	err = fmt.Errorf("finding who listens: %w", topology.ErrNoListener)
	for _, ip := range ips {
		if !isLocal(ip) {
			return 0, fmt.Errorf("%w: %s is not an address of this machine: numa-agent moves pages, so it runs beside the server", ErrTarget, opts.Addr)
		}
		pid, ipErr := sys.ListenerPID(netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		if ipErr == nil {
			return pid, nil
		}
		if !errors.Is(ipErr, topology.ErrNoListener) { // says more than nobody listening elsewhere
			err = ipErr
		}
	}
	return 0, connectError(doing, err)
}

// isLocal reports whether ip is an address of this network namespace.
func isLocal(ip netip.Addr) bool {
	if ip.Unmap().IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // then the search for the listener decides
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip.AsSlice())
	})
}

// ReadInfo asks the server for INFO.
func (t *Target) ReadInfo(ctx context.Context) (Info, error) {
	text, err := t.Client.Info(ctx).Result()
	if err != nil {
		return Info{}, serverError("asking "+t.Client.Options().Addr+" for INFO", err)
	}
	info, mode := parseInfo(text)
	if mode == "sentinel" {
		return Info{}, fmt.Errorf("%w: %s is a Sentinel, which keeps no data: name the server it watches", ErrTarget, t.Client.Options().Addr)
	}
	return info, nil
}

// serverError is for what fails on the connection: the server denies it, or
// is gone.
func serverError(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if redis.HasErrorPrefix(err, prefix) {
			return fmt.Errorf("%s: %w: %w: set REDIS_PASSWORD or --redis.password-file, and REDIS_USER for an ACL user, whose rules docs/permissions.md has", doing, fs.ErrPermission, err)
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
}

// parseInfo reads the reply to INFO: sections of name:value lines. Unknown
// fields are passed over, missing ones stay zero.
func parseInfo(text string) (info Info, mode string) {
	info.Server = "redis"
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "redis_version":
			if info.Version == "" {
				info.Version = value
			}
		case "server_name":
			info.Server = value
		case "valkey_version":
			info.Server, info.Version = "valkey", value
		case "redis_mode", "server_mode":
			mode = value
		case "run_id":
			info.RunID = value
		case "process_id":
			info.ProcessID, _ = strconv.Atoi(value)
		case "maxmemory_policy":
			info.Policy = value
		case "uptime_in_seconds":
			seconds, _ := strconv.ParseUint(value, 10, 31)
			info.Uptime = time.Duration(seconds) * time.Second
		case "loading":
			info.Loading = value == "1"
		case "rdb_bgsave_in_progress", "aof_rewrite_in_progress", "module_fork_in_progress":
			info.Child = info.Child || value == "1"
		default:
			if db, ok := strings.CutPrefix(name, "db"); ok && strings.HasPrefix(value, "keys=") {
				if n, err := strconv.ParseUint(db, 10, 31); err == nil {
					info.Databases = append(info.Databases, int(n))
				}
			}
		}
	}
	return info, mode
}
