package debroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// keyring is the file of package debian-archive-keyring with the keys that
// sign Debian's own suites; it is on every Debian machine.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// skipped returns dependencies that only maintainer scripts use, and data that
// no program here reads. apt is told that they are there already, which makes
// the download a third smaller.
func skipped() []string {
	return []string{
		"adduser", "coreutils", "debconf", "dpkg", "init-system-helpers", "initramfs-tools",
		"iso-codes", "kmod", "linux-base", "lsb-base", "passwd", "perl", "perl-base",
		"sysvinit-utils", "tar", "udev", "usrmerge", "usr-is-merged",
	}
}

// mirrors returns the addresses in the output of "apt-get update --print-uris"
// below which Debian's suites may be found. That is one quoted address per
// index file:
//
//	'http://host/debian/dists/bookworm/InRelease' host_debian_… 0
//
// apt's configuration does not say which of its archives are Debian's. The one
// with the most suites comes first, as Debian's has -updates beside the suite;
// another vendor's archive, or that of -security, fails the attempt.
func mirrors(output []byte) []string {
	suites := map[string]int{}
	var order []string
	for line := range strings.Lines(string(output)) {
		quoted, ok := strings.CutPrefix(line, "'")
		address, _, closed := strings.Cut(quoted, "'")
		release, isRelease := strings.CutSuffix(address, "/InRelease")
		base, _, isDist := strings.Cut(release, "/dists/")
		if !ok || !closed || !isRelease || !isDist || strings.HasPrefix(base, "cdrom:") || strings.ContainsAny(base, " \t") {
			continue
		}
		if suites[base]++; suites[base] == 1 {
			order = append(order, base)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return suites[b] - suites[a] })
	return order
}

// apt is apt-get with configuration, lists and cache below one folder. What
// the machine's own configuration says about proxies and credentials holds.
type apt struct {
	dir  string
	spec Spec
}

func newApt(dir string, spec Spec) (*apt, error) {
	a := &apt{dir: dir, spec: spec}
	for _, tool := range []string{"apt-get", "dpkg-deb", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("looking for %s: %w (this works on Debian and its derivatives only)", tool, err)
		}
	}
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(a.path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	present := slices.DeleteFunc(skipped(), func(name string) bool { return slices.Contains(spec.Packages, name) })
	if err := os.WriteFile(a.path("status"), []byte(status(present)), 0o644); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.path("apt.conf"), []byte(a.config()), 0o644)
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }
func (a *apt) sources() string         { return a.path("debian.sources") }

// download fetches the packages and their dependencies and returns the paths
// of the package files.
func (a *apt) download(ctx context.Context) ([]string, error) {
	// Lists of an earlier call save an update; where they are missing, stale
	// or do not know the package, a fresh update decides.
	if exists(a.sources()) {
		if debs, err := a.fetch(ctx); err == nil {
			return debs, nil
		}
	}
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	return a.fetch(ctx)
}

// config is read by apt after the machine's own files (apt.conf(5)). The hooks
// cleared are the machine's: some clean its caches or notify its desktop.
func (a *apt) config() string {
	return fmt.Sprintf(`Dir::State %[1]q;
Dir::State::lists "lists";
Dir::State::status "%[1]s/status";
Dir::Cache %[1]q;
Dir::Cache::archives "archives";
Dir::Etc::SourceList %[2]q;
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
#clear APT::Architectures;
APT::Architectures { %[3]q; };
APT::Architecture %[3]q;
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Quiet "1";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
`, a.dir, a.sources(), runtime.GOARCH) // Go and Debian agree on "amd64" and "arm64"
}

// status is a dpkg status file in which the packages are installed, in a
// version above every other.
func status(packages []string) string {
	var b strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&b, "Package: %s\nStatus: install ok installed\nVersion: 99:0\nArchitecture: all\nMulti-Arch: foreign\nMaintainer: none\nDescription: skipped\n\n", p)
	}
	return b.String()
}

// update fetches the suite's lists from the first of the machine's mirrors
// that has it, signed by Debian.
func (a *apt) update(ctx context.Context) error {
	// Where it has no lists, apt names every index it would fetch.
	out, err := a.run(ctx, "-o", "Dir::State="+a.path("none"), "update", "--print-uris")
	if err != nil {
		return fmt.Errorf("reading the machine's apt sources: %w", err)
	}
	candidates := mirrors(out)
	if len(candidates) == 0 {
		return errors.New("reading the machine's apt sources: they name no archive (see sources.list(5))")
	}
	var failures []error
	for _, mirror := range candidates {
		err := a.updateFrom(ctx, mirror)
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("updating the lists of %s from %s: %w", a.spec.Suite, mirror, err))
	}
	return fmt.Errorf("%w\ncheck that the network is up and that one of these mirrors carries %s", errors.Join(failures...), a.spec.Suite)
}

func (a *apt) updateFrom(ctx context.Context, mirror string) error {
	tmp := a.path("attempt.sources") // apt tells the format by the name's end
	source := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nTargets: Packages\nSigned-By: %s\n", mirror, a.spec.Suite, keyring)
	if err := os.WriteFile(tmp, []byte(source), 0o644); err != nil {
		return err
	}
	if _, err := a.run(ctx, "-c", a.path("apt.conf"), "-o", "Dir::Etc::SourceList="+tmp, "-o", "APT::Update::Error-Mode=any", "update"); err != nil {
		return err
	}
	return os.Rename(tmp, a.sources())
}

// fetch downloads by the lists there are.
func (a *apt) fetch(ctx context.Context) ([]string, error) {
	if err := a.clean(); err != nil { // what a killed caller left
		return nil, err
	}
	if _, err := a.run(ctx, append([]string{"-c", a.path("apt.conf"), "install", "--download-only"}, a.spec.Packages...)...); err != nil {
		return nil, fmt.Errorf("downloading: %w", err)
	}
	debs, err := a.archives()
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("downloading: apt left no package in %s", a.path("archives"))
	}
	return debs, err
}

func (a *apt) archives() ([]string, error) { return filepath.Glob(a.path("archives/*.deb")) }

// clean removes the package files.
func (a *apt) clean() error {
	debs, err := a.archives()
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if err := os.Remove(deb); err != nil {
			return err
		}
	}
	return nil
}

// run runs apt-get and returns its output; an error holds what it said.
func (a *apt) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("running apt-get: %w: %s", err, complaint(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// complaint keeps of apt's messages the errors ("E: …"), or all if there are
// none.
func complaint(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "E: ") {
			lines = append(lines, strings.TrimSpace(line[3:]))
		}
	}
	if len(lines) == 0 {
		return strings.TrimSpace(stderr)
	}
	return strings.Join(lines, "; ")
}

// unpack unpacks packages over each other into dir, and makes it readable.
func unpack(ctx context.Context, dir string, debs []string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	// Debian's merged /usr: packages of one suite may have their libraries in
	// /lib, /usr/lib or both.
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.MkdirAll(filepath.Join(dir, "usr", name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(path.Join("usr", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for _, deb := range debs {
		group.Go(func() error {
			if err := unpackOne(ctx, dir, deb); err != nil {
				return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return relink(dir)
}

// relink makes the absolute links below dir relative, so that they lead to
// files of the root instead of the machine's.
func relink(dir string) error {
	return filepath.WalkDir(dir, func(link string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() != fs.ModeSymlink {
			return err
		}
		target, err := os.Readlink(link)
		if err != nil || !filepath.IsAbs(target) {
			return err
		}
		relative, err := filepath.Rel(filepath.Dir(link), filepath.Join(dir, target))
		if err != nil {
			return err
		}
		if err := os.Remove(link); err != nil {
			return err
		}
		return os.Symlink(relative, link)
	})
}

// unpackOne does what "dpkg-deb -x" does, but that replaces the links of a
// merged /usr by folders. Documentation and translations are left out.
func unpackOne(ctx context.Context, dir, deb string) error {
	var listErr, extractErr bytes.Buffer
	list := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	list.Stderr = &listErr
	archive, err := list.StdoutPipe()
	if err != nil {
		return err
	}
	extract := exec.CommandContext(ctx, "tar", "-x", "-C", dir, "--keep-directory-symlink", "--no-same-owner",
		"--exclude=./usr/share/doc", "--exclude=./usr/share/locale", "--exclude=./usr/share/man")
	extract.Stdin, extract.Stderr = archive, &extractErr
	if err := list.Start(); err != nil {
		return err
	}
	err = extract.Run()
	archive.Close() // ends dpkg-deb where tar has ended early
	if err = errors.Join(err, list.Wait()); err != nil {
		return fmt.Errorf("%w: %s%s", err, &listErr, &extractErr)
	}
	return nil
}
