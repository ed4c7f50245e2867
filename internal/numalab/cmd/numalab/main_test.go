package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"numa-agent/internal/numalab"
)

const gib = 1 << 30

func TestParseFlags(t *testing.T) {
	got, err := parseFlags(strings.Fields(
		"-nodes 3 -cpus 2,1,0 -mem 2GiB,1GiB,512MiB -distance 31 -timeout 90s -suite trixie -file a:/b -file c:/d -env K=V=W -verbose -- tool -nodes 9"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := &options{
		nodes:    []numalab.Node{{Memory: 2 * gib, CPUs: 2}, {Memory: gib, CPUs: 1}, {Memory: gib / 2}},
		distance: 31,
		timeout:  90 * time.Second,
		suite:    "trixie",
		files:    []numalab.File{{Host: "a", Guest: "/b"}, {Host: "c", Guest: "/d"}},
		env:      []string{"K=V=W"},
		verbose:  true,
		command:  []string{"tool", "-nodes", "9"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	got, err = parseFlags([]string{"tool"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want = &options{
		nodes:    []numalab.Node{{Memory: gib, CPUs: 1}, {Memory: gib, CPUs: 1}},
		distance: 21, timeout: 5 * time.Minute, suite: "bookworm", command: []string{"tool"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("without flags (-want +got):\n%s", diff)
	}
}

func TestParseFlagsRefuses(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "no command"},
		{"-nodes 2 --", "no command"},
		{"-nodes 0 tool", "-nodes 0"},
		{"-nodes 3 -cpus 1,1 tool", "2 values for 3 nodes"},
		{"-cpus one tool", "-cpus one"},
		{"-mem much tool", "-mem much"},
		{"-mem 10EB tool", "-mem 10EB"},
		{"-file nowhere tool", "host:guest"},
		{"-env novalue tool", "key=value"},
		{"-timeout soon tool", "soon"},
	} {
		if _, err := parseFlags(strings.Fields(tt.args), io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q in it", tt.args, err, tt.want)
		}
	}
	var usage bytes.Buffer
	if _, err := parseFlags([]string{"-h"}, &usage); !errors.Is(err, flag.ErrHelp) || !strings.Contains(usage.String(), "-distance") {
		t.Errorf("-h: %v and %q, want the flags", err, &usage)
	}
}

func TestPassedOn(t *testing.T) {
	got := passedOn([]string{
		"HOME=/home/me", "GOCACHE=/cache", "GOCOVERDIR=/cover", "GODEBUG=gctrace=1", "GOMAXPROCS=1",
		"NUMA_AGENT_FOO=1", "NUMA_AGENT_CACHE=/c", "NUMALAB_BAR=2", "NUMALABX=3",
	})
	want := []string{"GODEBUG=gctrace=1", "GOMAXPROCS=1", "NUMA_AGENT_FOO=1", "NUMALAB_BAR=2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// writeFiles writes empty files and returns their folder.
func writeFiles(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestConfigOfCommand(t *testing.T) {
	dir := writeFiles(t, "bin/tool", "extra")
	base := options{nodes: make([]numalab.Node, 2), distance: 42, files: []numalab.File{{Host: "extra", Guest: "/extra"}}}
	tool := filepath.Join(dir, "bin/tool")
	for _, tt := range []struct {
		name    string
		command []string
		want    numalab.Config
	}{
		{"relative to here", []string{"bin/tool", "-test.v"}, numalab.Config{
			Command: []string{tool, "-test.v"},
			Files:   []numalab.File{{Host: tool, Guest: tool}, {Host: "extra", Guest: "/extra"}},
		}},
		{"of the guest by name", []string{"numactl", "-H"}, numalab.Config{
			Command: []string{"numactl", "-H"},
			Files:   []numalab.File{{Host: "extra", Guest: "/extra"}},
		}},
		{"of the guest by path", []string{"/not/here"}, numalab.Config{
			Command: []string{"/not/here"},
			Files:   []numalab.File{{Host: "extra", Guest: "/extra"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := base
			opts.command = tt.command
			got, err := opts.config(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Nodes, tt.want.Distance = base.nodes, [][]int{{10, 42}, {42, 10}}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	missing := options{command: []string{"./missing"}}
	if _, err := missing.config(dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("./missing: %v, want that it does not exist", err)
	}
}

func TestConfigOfTest(t *testing.T) {
	work := writeFiles(t, "p.test")
	dir := writeFiles(t, "p.go", "testdata/deep/golden", "other/package.go")
	binary := filepath.Join(work, "p.test")
	opts := options{command: []string{binary, "-test.v=true", "-test.coverprofile=c.out", "-test.outputdir=" + work, "-test.trace=/abs/t.out", "-test.gocoverdir=" + work}}
	got, err := opts.config(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	same := func(path string) numalab.File { return numalab.File{Host: path, Guest: path} }
	want := numalab.Config{
		Distance: [][]int{},
		Command:  opts.command,
		Dir:      dir,
		Files: []numalab.File{
			same(binary), same(filepath.Join(dir, "p.go")), same(filepath.Join(dir, "testdata/deep/golden")), same(work), same(work),
		},
		Outputs: []numalab.File{same(filepath.Join(work, "c.out")), same("/abs/t.out")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPackageFolderTooBig(t *testing.T) {
	dir := writeFiles(t, "testdata/big")
	if err := os.Truncate(filepath.Join(dir, "testdata/big"), maxPackage+1); err != nil {
		t.Fatal(err)
	}
	if _, err := packageFiles(dir); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("%v, want that it is too big", err)
	}
}

// guestTest is a package whose test passes in the lab only.
var guestTest = map[string]string{
	"go.mod":            "module example.test/guest\n\ngo 1.26\n",
	"guest.go":          "package guest\n\nfunc Two() int { return 2 }\n",
	"testdata/expected": "0-1\n",
	"guest_test.go": `package guest

import (
	"os"
	"testing"
)

func TestGuest(t *testing.T) {
	want, err := os.ReadFile("testdata/expected")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("/sys/devices/system/node/online")
	if err != nil || string(got) != string(want) || Two() != 2 || os.Getenv("NUMALAB") != "1" {
		t.Fatalf("nodes %q, %v, want %q", got, err, want)
	}
	if os.Getenv("NUMALAB_FAIL") != "" {
		t.Error("failing as asked")
	}
}
`,
}

func TestGoTestExec(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skipf("the lab emulates amd64, this is %s", runtime.GOARCH)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("the lab is made of Debian packages: %v", err)
	}
	dir := t.TempDir()
	numalab := filepath.Join(dir, "numalab")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", numalab, ".").CombinedOutput(); err != nil {
		t.Fatalf("building numalab: %v\n%s", err, out)
	}
	pkg := filepath.Join(dir, "guest")
	for name, content := range guestTest {
		path := filepath.Join(pkg, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	profile := filepath.Join(dir, "cover.out")
	for _, tt := range []struct {
		name, env, want string
		ok              bool
	}{
		{"passes", "NUMALAB_FAIL=", "coverage: 100.0%", true},
		{"fails", "NUMALAB_FAIL=1", "failing as asked", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "test", "-exec", numalab+" -nodes 2 -mem 512MiB --", "-coverprofile", profile, ".")
			cmd.Dir = pkg
			cmd.Env = append(os.Environ(), "GOWORK=off", tt.env)
			out, err := cmd.CombinedOutput()
			if (err == nil) != tt.ok || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v, want success %t and %q in:\n%s", err, tt.ok, tt.want, out)
			}
		})
	}
	if got, err := os.ReadFile(profile); err != nil || !strings.Contains(string(got), "guest.go:3") {
		t.Errorf("coverage profile %q, %v, want a line of guest.go", got, err)
	}
}
