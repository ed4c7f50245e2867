package numalab

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests boot machines whose init is this test binary.
func TestMain(m *testing.M) {
	RunAsInit()
	os.Exit(m.Run())
}

const gib = 1 << 30

// twoSockets is the smallest machine with a remote node.
var twoSockets = []Node{{Memory: gib / 2, CPUs: 1}, {Memory: gib / 2, CPUs: 1}}

// bootLimit leaves time for a machine that does much else.
const bootLimit = 3 * time.Minute

func requireLab(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skipf("the lab emulates amd64, this is %s", runtime.GOARCH)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("the lab is made of Debian packages: %v", err)
	}
	t.Parallel()
}

// script is a configuration that runs a shell script on two nodes.
func script(lines ...string) Config {
	return Config{Nodes: twoSockets, Timeout: bootLimit, Command: []string{"sh", "-c", strings.Join(lines, "\n")}}
}

func TestRun(t *testing.T) {
	requireLab(t)
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	host := t.TempDir()
	in, out := filepath.Join(host, "in"), filepath.Join(host, "out")
	if err := os.WriteFile(in, noise, 0o640); err != nil {
		t.Fatal(err)
	}
	cfg := script(
		"cat /data/noise",
		`stat -c "%a" /data/noise >&2`,
		`echo "$NUMALAB $GREETING $PWD" >&2`,
		"cat /sys/devices/system/node/node*/cpulist /sys/devices/system/node/node0/distance >&2",
		`rev /data/noise > /dev/null; cp /data/noise /results/out`,
		"sleep 600 & exit 7", // what is left behind holds nothing up
	)
	cfg.Files = []File{{in, "/data/noise"}}
	cfg.Outputs = []File{{out, "/results/out"}, {filepath.Join(host, "never"), "/results/never"}}
	cfg.Env = []string{"GREETING=hello"}
	cfg.Dir = "/some/where"
	var stdout, stderr bytes.Buffer
	cfg.Stdout, cfg.Stderr = &stdout, &stderr
	code, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if !bytes.Equal(stdout.Bytes(), noise) {
		t.Errorf("standard output differs from the %d bytes printed (%d arrived)", len(noise), stdout.Len())
	}
	want := "640\n1 hello /some/where\n0\n1\n10 21\n"
	if diff := cmp.Diff(want, stderr.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, noise) {
		t.Errorf("the file brought back has %d bytes (%v), want the %d written", len(got), err, len(noise))
	}
	if _, err := os.Stat(filepath.Join(host, "never")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file the guest did not write: %v, want none", err)
	}
}

func TestNodeWithoutCPUs(t *testing.T) {
	requireLab(t)
	cfg := script(
		"cd /sys/devices/system/node; cat has_cpu has_memory node*/distance",
		"redis-server --port 0 --unixsocket /tmp/s --daemonize yes >/dev/null",
		"while ! redis-cli -s /tmp/s ping; do sleep 0.1; done 2>/dev/null",
		"migratepages $(pidof redis-server) 0 2 && grep -c N2= /proc/$(pidof redis-server)/numa_maps >/dev/null && echo moved",
	)
	cfg.Nodes = []Node{{Memory: gib / 2, CPUs: 2}, {Memory: gib / 4, CPUs: 1}, {Memory: gib / 4}}
	cfg.Distance = [][]int{{10, 21, 31}, {21, 10, 41}, {31, 41, 10}}
	var stdout, stderr bytes.Buffer
	cfg.Stdout, cfg.Stderr = &stdout, &stderr
	code, err := Run(t.Context(), cfg)
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, &stderr)
	}
	want := "0-1\n0-2\n10 21 31\n21 10 41\n31 41 10\nPONG\nmoved\n"
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a command prints, on whatever it can open, is not taken for a report.
func TestExitCodeCannotBePrinted(t *testing.T) {
	requireLab(t)
	forged := `printf 'x\001\000\000\0000'`
	cfg := script(
		forged, forged+" >&2", forged+" > /dev/console",
		"for port in /dev/ttyS*; do "+forged+" > $port; done 2>/dev/null",
		"kill -9 $$",
	)
	var stdout, stderr bytes.Buffer
	cfg.Stdout, cfg.Stderr = &stdout, &stderr
	code, err := Run(t.Context(), cfg)
	if err != nil || code != 128+9 {
		t.Errorf("exit code %d, %v, want 137 for a command that was killed", code, err)
	}
	const frame = "x\x01\x00\x00\x000"
	if stdout.String() != frame || stderr.String() != frame {
		t.Errorf("output %q and %q, want %q in both", &stdout, &stderr, frame)
	}
}

func TestGuestEndsEarly(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"panic", "echo c > /proc/sysrq-trigger", "Kernel panic"},
		{"power off", "poweroff -f", "Power down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requireLab(t)
			_, err := Run(t.Context(), script(tt.script))
			if !errors.Is(err, errNoExit) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %v with %q from the console", err, errNoExit, tt.want)
			}
		})
	}
}

func TestTimeLimit(t *testing.T) {
	requireLab(t)
	cfg := script("while true; do sleep 1; done")
	cfg.Timeout = 12 * time.Second
	start := time.Now()
	_, err := Run(t.Context(), cfg)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took > bootLimit {
		t.Errorf("took %s with a limit of %s", took, cfg.Timeout)
	}
}

// A stand-in for QEMU shows the ways in which the machine itself fails.
func TestMachineFails(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skipf("the lab emulates amd64, this is %s", runtime.GOARCH)
	}
	for _, tt := range []struct {
		name, qemu string
		want       []string
	}{
		{"does not start", "echo no such option >&2; exit 1", []string{errNoExit.Error(), "exit status 1", "no such option"}},
		{"never boots", "echo SeaBIOS; exec sleep 600", []string{"did not boot within 1s", "SeaBIOS"}},
		{"command hangs", `printf 'b\000\000\000\000' >&3; exec sleep 600`, []string{"the command did not end within 1s"}},
		{"unknown report", `printf 'Z\000\000\000\000' >&3; exec sleep 600`, []string{"unknown frame 'Z'"}},
		{"oversized report", `printf 'o\000\000\000\177' >&3; exec sleep 600`, []string{"frame 'o' of 2130706432 bytes"}},
		{"command missing", `printf '!\004\000\000\000gone' >&3; exec sleep 600`, []string{"in the guest: gone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			qemu := filepath.Join(t.TempDir(), "qemu")
			if err := os.WriteFile(qemu, []byte("#!/bin/sh\n"+tt.qemu+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cfg := script("true")
			cfg.Timeout = time.Second
			cfg.Stdout, cfg.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
			initrd, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer initrd.Close()
			ctx, cancel := context.WithTimeout(t.Context(), cfg.Timeout)
			defer cancel()
			vm := &machine{qemu: emulator{path: qemu}, initrd: initrd}
			_, err = vm.boot(ctx, &cfg)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no command", func(c *Config) { c.Command = nil }, "no command"},
		{"no time", func(c *Config) { c.Timeout = 0 }, "time limit"},
		{"no nodes", func(c *Config) { c.Nodes = nil }, "0 nodes"},
		{"too many nodes", func(c *Config) { c.Nodes = make([]Node, maxNodes+1) }, "129 nodes"},
		{"odd memory", func(c *Config) { c.Nodes = []Node{{Memory: 1, CPUs: 1}} }, "memory of node 0"},
		{"vast memory", func(c *Config) { c.Nodes = []Node{{Memory: 1 << 50, CPUs: 1}} }, "memory of node 0"},
		{"negative CPUs", func(c *Config) { c.Nodes = []Node{{Memory: gib, CPUs: -1}} }, "node 0: -1 CPUs"},
		{"no CPU", func(c *Config) { c.Nodes = []Node{{Memory: gib}} }, "no node has a CPU"},
		{"few distances", func(c *Config) { c.Distance = UniformDistance(1, 21) }, "distances of 1 nodes"},
		{"ragged distances", func(c *Config) { c.Distance = [][]int{{10, 21}, {10}} }, "distances of node 1: 1 given"},
		{"far from itself", func(c *Config) { c.Distance = [][]int{{20, 21}, {21, 10}} }, "to itself is 20"},
		{"too near", func(c *Config) { c.Distance = UniformDistance(2, 10) }, "must be 11 to 254"},
		{"too far", func(c *Config) { c.Distance = UniformDistance(2, 255) }, "must be 11 to 254"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := script("true")
			tt.change(&cfg)
			if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestQEMUArguments(t *testing.T) {
	cfg := Config{Nodes: []Node{{Memory: gib, CPUs: 2}, {Memory: gib / 2, CPUs: 1}, {Memory: gib / 4}}}
	got := strings.Join(qemuArguments(&cfg, "kernel"), " ")
	for _, want := range []string{
		"-object memory-backend-ram,id=m0,size=1073741824 -numa node,nodeid=0,memdev=m0,cpus=0-1",
		"-numa node,nodeid=1,memdev=m1,cpus=2-2",
		"-numa node,nodeid=2,memdev=m2 ",
		"-numa dist,src=2,dst=0,val=21",
		"-m 1792M -smp 3,sockets=3,",
		"-kernel kernel ",
		" quiet",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
