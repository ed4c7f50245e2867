package debroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMirrors(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		want         []string
	}{
		{"nothing", "", nil},
		{"no quotes", "http://one.example/debian/dists/bookworm/InRelease\n", nil},
		{"not closed", "'http://one.example/debian/dists/bookworm/InRelease\n", nil},
		{"flat archive", "'http://one.example/flat/./InRelease' one 0\n", nil},
		{"cdrom", "'cdrom:[Debian]/dists/bookworm/InRelease' one 0\n", nil},
		{"lists are not releases", "'http://one.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' one 0\n", nil},
		{"most suites first", `'https://vendor.example/linux/debian/dists/bookworm/InRelease' vendor 0
'http://one.example/debian-security/dists/bookworm-security/InRelease' security 0
'http://one.example/debian/dists/bookworm/InRelease' one 0
'http://one.example/debian/dists/bookworm-updates/InRelease' one-updates 0
'http://one.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' one_main 0
`, []string{"http://one.example/debian", "https://vendor.example/linux/debian", "http://one.example/debian-security"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mirrors([]byte(tt.output))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSpecName(t *testing.T) {
	a := Spec{Packages: []string{"b", "a", "b"}}.name()
	if b := (Spec{Packages: []string{"a", "b"}}).name(); a != b {
		t.Errorf("the same set is called %s and %s", a, b)
	}
	if b := (Spec{Packages: []string{"a"}}).name(); a == b {
		t.Errorf("two sets are called %s", a)
	}
}

func TestEnsureRefuses(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	for _, spec := range []Spec{
		{},
		{Suite: "bookworm"},
		{Suite: "../up", Packages: []string{"redis-server"}},
		{Suite: "", Packages: []string{"redis-server"}},
		{Suite: "bookworm", Packages: []string{"--option"}},
		{Suite: "bookworm", Packages: []string{"a/b"}},
		{Suite: "bookworm", Packages: []string{""}},
	} {
		if root, err := Ensure(t.Context(), spec); err == nil {
			t.Errorf("Ensure(%+v) = %s, want an error", spec, root)
		}
	}
}

// fakeApt puts an apt-get in front of the real one, since that cannot be made
// to fail at will. It serves one package that it is given, logs its calls, and
// fails as the file "fault" in its folder says. It returns the folder.
func fakeApt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	buildPackage(t, dir)
	script := fmt.Sprintf(`#!/bin/sh
dir=%s
echo "$*" >> $dir/log
fault=$(cat $dir/fault 2>/dev/null)
case "$*" in
*--print-uris*)
	[ "$fault" = sources ] || echo "'http://mirror.example/debian/dists/bookworm/InRelease' mirror 0" ;;
*update)
	if [ "$fault" = network ]; then
		echo "W: noise" >&2
		echo "E: Failed to fetch http://mirror.example/debian" >&2
		exit 100
	fi ;;
*--download-only*)
	case "$*" in *nosuch) echo "E: Unable to locate package nosuch" >&2; exit 100 ;; esac
	[ "$fault" = hang ] && { touch $dir/hanging; exec sleep 600; }
	cp $dir/real.deb "$(dirname "$2")/archives/" ;;
esac
[ "$fault" = torn ] && case "$*" in *--download-only*) echo torn > "$(dirname "$2")/archives/real.deb" ;; esac
exit 0
`, dir)
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(CacheEnv, filepath.Join(dir, "cache"))
	return dir
}

// buildPackage makes a package with files on both sides of the merged /usr and
// an absolute link, as libc6 had one.
func buildPackage(t *testing.T, dir string) {
	t.Helper()
	tree := filepath.Join(dir, "tree")
	for name, content := range map[string]string{
		"DEBIAN/control":           "Package: real\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.test>\nDescription: test\n",
		"lib/one":                  "one",
		"usr/lib/two":              "two",
		"usr/bin/tool":             "tool",
		"usr/share/doc/real/notes": "left out",
		"usr/share/big":            strings.Repeat("more than a pipe holds\n", 1<<14),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/lib/one", filepath.Join(tree, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dpkg-deb", "-b", tree, filepath.Join(dir, "real.deb")).CombinedOutput(); err != nil {
		t.Skipf("building a package, which takes Debian: %v: %s", err, out)
	}
}

func setFault(t *testing.T, dir, fault string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "fault"), []byte(fault), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureUnpacks(t *testing.T) {
	dir := fakeApt(t)
	stale := filepath.Join(dir, "cache/debian/bookworm/unpack-1") // of a caller that was killed
	if err := os.MkdirAll(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Suite: "bookworm", Packages: []string{"real"}}
	roots := make([]string, 4)
	errs := make([]error, len(roots))
	var callers sync.WaitGroup
	for i := range roots {
		callers.Go(func() { roots[i], errs[i] = Ensure(t.Context(), spec) })
	}
	callers.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	root := roots[0]
	for _, other := range roots {
		if other != root {
			t.Errorf("concurrent callers got %s and %s", root, other)
		}
	}
	for name, want := range map[string]string{
		"lib/one": "one", "usr/lib/one": "one", "lib/two": "two", "bin/tool": "tool", "usr/bin/link": "one",
	} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	for _, gone := range []string{stale, filepath.Join(root, "usr/share/doc/real"), filepath.Join(root, "DEBIAN")} {
		if exists(gone) {
			t.Errorf("%s exists", gone)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(log), "--download-only"); got != 1 {
		t.Errorf("%d downloads for four callers, want 1", got)
	}
}

func TestEnsureFails(t *testing.T) {
	for _, tt := range []struct {
		fault, pkg string
		want       []string
	}{
		{"network", "real", []string{"unpacking real of Debian bookworm", "from http://mirror.example/debian", "Failed to fetch", "check that the network is up"}},
		{"sources", "real", []string{"name no archive"}},
		{"", "nosuch", []string{"downloading", "Unable to locate package nosuch"}},
		{"torn", "real", []string{"unpacking real.deb", "not a Debian format archive"}},
	} {
		t.Run(tt.fault+tt.pkg, func(t *testing.T) {
			dir := fakeApt(t)
			setFault(t, dir, tt.fault)
			_, err := Ensure(t.Context(), Spec{Suite: "bookworm", Packages: []string{tt.pkg}})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "noise") {
				t.Errorf("%v, want no warnings where there are errors", err)
			}
			left, err := filepath.Glob(filepath.Join(dir, "cache/debian/bookworm/*-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// tar ends at once here, and dpkg-deb must not wait for it for ever.
func TestUnpackIntoNothing(t *testing.T) {
	dir := t.TempDir()
	buildPackage(t, dir)
	err := unpackOne(t.Context(), filepath.Join(dir, "missing"), filepath.Join(dir, "real.deb"))
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("%v, want that the folder is missing", err)
	}
}

func TestEnsureWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(CacheEnv, t.TempDir())
	_, err := Ensure(t.Context(), Spec{Suite: "bookworm", Packages: []string{"real"}})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "apt-get") {
		t.Errorf("%v, want that apt-get is not found", err)
	}
}

func TestEnsureEndsWithContext(t *testing.T) {
	dir := fakeApt(t)
	setFault(t, dir, "hang")
	spec := Spec{Suite: "bookworm", Packages: []string{"real"}}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := Ensure(ctx, spec)
		first <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !exists(filepath.Join(dir, "hanging")) {
		<-tick.C
	}
	waiting, stop := context.WithTimeout(t.Context(), 2*lockPoll)
	defer stop()
	if _, err := Ensure(waiting, spec); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for another process") {
		t.Errorf("second caller: %v, want that it waited until its time was up", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first caller: %v, want %v", err, context.Canceled)
	}
}
