package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"numa-agent/internal/redistest"
	"numa-agent/topology"
)

// result is what one run of the command line did.
type result struct {
	code           int
	stdout, stderr string
}

// cmdline runs numa-agent with env.
func cmdline(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := newCLI(func(name string) string { return env[name] }, &stdout, &stderr).run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

func (r result) check(t *testing.T, code int, stderr ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d; stderr: %s", r.code, code, r.stderr)
	}
	for _, want := range stderr {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr %q does not say %q", r.stderr, want)
		}
	}
	if lines := strings.Count(r.stderr, "\n"); len(stderr) > 0 && lines != 1 {
		t.Errorf("%d lines on stderr, want one: %q", lines, r.stderr)
	}
}

func pid(s *redistest.Server) string { return strconv.Itoa(s.PID) }

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--no-such-flag"}, "unknown flag"},
		{[]string{"explode"}, `unknown command "explode"`},
		{[]string{"plan", "extra"}, `takes no arguments, got "extra"`},
		{[]string{"key"}, "takes one key"},
		{[]string{"plan", "-o", "xml"}, `--output "xml"`},
		{[]string{"plan", "--pid", "-3"}, "--pid -3"},
		{[]string{"plan", "--pid", "x"}, "invalid argument"},
		{[]string{"rebalance", "--batch-pages", "1000000"}, "batch of 1000000 pages"},
		{[]string{"plan", "--budget", "lots"}, `budget "lots"`},
		{[]string{"plan", "--source", "guess"}, `source "guess"`},
		{[]string{"plan", "--until-share", "1.5"}, "1.5"},
		{[]string{"plan", "--redis-share", "0"}, "share of the server's time"},
		{[]string{"plan", "--log-level", "loud"}, `--log-level "loud"`},
		{[]string{"plan", "--log-format", "xml"}, `--log-format "xml"`},
		{[]string{"plan", "--redis.addr", "ftp://:secret@x"}, "address"},
		{[]string{"plan", "--redis.password-file", "/does/not/exist"}, "reading the password"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			r := cmdline(t, nil, c.args...)
			r.check(t, exitUsage, c.says)
			if strings.Contains(r.stderr, "secret") {
				t.Errorf("stderr shows the password: %s", r.stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	r := cmdline(t, nil, "version", "-o", "json")
	r.check(t, exitOK)
	var v versionOutput
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || v.Go == "" {
		t.Errorf("%s: %v", r.stdout, err)
	}
}

func TestNoTarget(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	closed.Close()
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"vanished pid", []string{"--pid", strconv.Itoa(gone.Process.Pid)}, "pid " + strconv.Itoa(gone.Process.Pid)},
		{"not a server", []string{"--pid", strconv.Itoa(os.Getpid())}, "not a Redis or Valkey server"},
		{"nobody listens", []string{"--redis.addr", addr}, addr},
		{"no such socket", []string{"--redis.addr", "unix:///does/not/exist"}, "/does/not/exist"},
		{"a remote address", []string{"--redis.addr", "192.0.2.1:6379"}, "is not an address of this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range []string{"plan", "rebalance"} {
				cmdline(t, nil, append([]string{command}, c.args...)...).check(t, exitTarget, c.says)
			}
			cmdline(t, nil, append([]string{"key", "k"}, c.args...)...).check(t, exitTarget, c.says)
			cmdline(t, nil, append([]string{"doctor"}, c.args...)...).check(t, exitTarget)
		})
	}
}

// TestNotTheServer: something that is not the server listens at the address.
func TestNotTheServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmdline(t, nil, "plan", "--redis.addr", l.Addr().String()).check(t, exitTarget, "not a Redis or Valkey server")
}

func TestPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "right")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmdline(t, nil, "topology", "--pid", pid(s)).check(t, exitPermission, "NOAUTH", "REDIS_PASSWORD")
	cmdline(t, map[string]string{"REDIS_PASSWORD": "wrong"}, "plan", "--pid", pid(s)).check(t, exitPermission, "WRONGPASS")
	cmdline(t, map[string]string{"REDIS_PASSWORD": "right"}, "topology", "--pid", pid(s)).check(t, exitOK)
	cmdline(t, nil, "topology", "--pid", pid(s), "--redis.password-file", file).check(t, exitOK)
	cmdline(t, map[string]string{"REDIS_ADDR": s.Socket, "REDIS_PASSWORD": "right"}, "topology").check(t, exitOK)
}

func TestSentinel(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := redistest.StartSentinel(t, conf)
	cmdline(t, nil, "plan", "--pid", pid(s)).check(t, exitTarget, "Sentinel")
	cmdline(t, nil, "plan", "--redis.addr", s.Socket).check(t, exitTarget, "Sentinel")
}

func TestTopologyOfTarget(t *testing.T) {
	s := redistest.Start(t)
	r := cmdline(t, nil, "topology", "--redis.addr", s.Socket, "-o", "json")
	r.check(t, exitOK)
	var out struct {
		Nodes  []any
		Target struct {
			PID         int
			Version     string
			BytesByNode map[string]uint64 `json:"bytes_by_node"`
			Threads     []any
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
		t.Fatal(err)
	}
	bytes := uint64(0)
	for _, b := range out.Target.BytesByNode {
		bytes += b
	}
	if len(out.Nodes) == 0 || out.Target.PID != s.PID || !strings.HasPrefix(out.Target.Version, "7.0.") || len(out.Target.Threads) < 4 || bytes < 1<<20 {
		t.Errorf("%+v", out)
	}
	table := cmdline(t, nil, "topology", "--pid", pid(s))
	table.check(t, exitOK)
	for _, want := range []string{"NODE", "redis 7.0.", "redis-server", "pid " + pid(s)} {
		if !strings.Contains(table.stdout, want) {
			t.Errorf("no %q in\n%s", want, table.stdout)
		}
	}
}

func TestKey(t *testing.T) {
	s := redistest.Start(t)
	s.Set(t.Context(), "plain", strings.Repeat("v", 5000), 0)
	s.Set(t.Context(), "bin\x00\xff", "v", 0)
	r := cmdline(t, nil, "key", "plain", "--pid", pid(s))
	r.check(t, exitOK)
	for _, want := range []string{"string", "raw", "bucket", "entry", "object", "value"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	r = cmdline(t, nil, "key", "bin\x00\xff", "--pid", pid(s), "-o", "json")
	r.check(t, exitOK)
	if !strings.Contains(r.stdout, `"key": "bin\\x00\\xff"`) {
		t.Error(r.stdout)
	}
	cmdline(t, nil, "key", "--escaped", `bin\x00\xff`, "--pid", pid(s)).check(t, exitOK)
	cmdline(t, nil, "key", "--escaped", `bin\x`, "--pid", pid(s)).check(t, exitUsage, "bad escape")
	cmdline(t, nil, "key", "absent", "--pid", pid(s)).check(t, exitError, `no such key: "absent"`)
	cmdline(t, nil, "key", "plain", "--db", "99", "--pid", pid(s)).check(t, exitUsage, "databases 0 to 15")
}

func TestDoctor(t *testing.T) {
	s := redistest.Start(t)
	r := cmdline(t, nil, "doctor", "--pid", pid(s))
	r.check(t, exitOK)
	for _, want := range []string{"target", "keyspace", "proven on", "numa_maps", "move_pages", "main thread"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
}

// TestCorruptNumaMaps shows the program a /proc in which one line of the
// server's numa_maps is not what a kernel writes.
func TestCorruptNumaMaps(t *testing.T) {
	s := redistest.Start(t)
	proc := t.TempDir()
	mirror := func(from, to, but string) {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == but {
				continue
			}
			if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	mirror("/proc", proc, pid(s))
	dir := filepath.Join(proc, pid(s))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mirror(filepath.Join("/proc", pid(s)), dir, "numa_maps")
	if err := os.WriteFile(filepath.Join(dir, "numa_maps"), []byte("7f0000000000 default anon=1 N0=1 kernelpagesize_kB=4\n7f0000001000 default anon=many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cli := newCLI(func(string) string { return "" }, &stdout, &stderr)
	cli.sys = topology.NewFS(proc, "/sys")
	code := cli.run(t.Context(), []string{"topology", "--pid", pid(s)})
	result{code, stdout.String(), stderr.String()}.check(t, exitError, "numa_maps of pid "+pid(s), "line 2", "anon=many")
}

// TestProgress: there is a bar on a terminal, and nothing elsewhere.
func TestProgress(t *testing.T) {
	if progress, _ := progressOn(new(bytes.Buffer)); progress != nil {
		t.Error("a bar where no terminal is")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	progress, done := progressOn(terminal)
	if progress == nil {
		t.Fatal("no bar on a terminal")
	}
	progress(1, 10)
	progress(10, 10)
	done()
}

// TestStoppedServer: the server goes away between finding and working.
func TestStoppedServer(t *testing.T) {
	s := redistest.Start(t)
	id := pid(s)
	s.Stop()
	cmdline(t, nil, "rebalance", "--pid", id).check(t, exitTarget, fmt.Sprintf("pid %s", id))
	cmdline(t, nil, "rebalance", "--redis.addr", s.Socket).check(t, exitTarget, s.Socket)
}

// TestOneNode: without another node there is nothing to do, and that is no
// error.
func TestOneNode(t *testing.T) {
	machine, err := topology.DefaultFS().Machine()
	if err != nil {
		t.Fatal(err)
	}
	if len(machine.Nodes) > 1 {
		t.Skip("this machine has several NUMA nodes")
	}
	s := redistest.Start(t)
	for _, command := range []string{"plan", "rebalance"} {
		r := cmdline(t, nil, command, "--pid", pid(s))
		r.check(t, exitOK)
		if !strings.Contains(r.stdout, "one NUMA node") {
			t.Error(r.stdout)
		}
		r = cmdline(t, nil, command, "--pid", pid(s), "-o", "json")
		var out map[string]any
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"schema", "dry_run", "target", "sample", "before", "plan", "result", "after"} {
			if out[field] == nil {
				t.Errorf("%s: no %s in %s", command, field, r.stdout)
			}
		}
	}
}
