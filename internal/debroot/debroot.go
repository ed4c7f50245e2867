package debroot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"numa-agent/internal/linux"
)

// CacheEnv names the environment variable that moves the cache away from
// os.UserCacheDir.
const CacheEnv = "NUMA_AGENT_CACHE"

// lockPoll is how often a caller asks for a lock that another one holds.
const lockPoll = 100 * time.Millisecond

// Spec says which packages a root consists of.
type Spec struct {
	Suite    string   // Debian's name of a release: "bookworm", "sid"
	Packages []string // names as apt takes them; what they depend on comes along
}

// Names reach apt's command line and folder names, so they are held to what
// Debian allows: policy 5.6.1 for packages; suites are a codename or a class.
var (
	validSuite   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	validPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
)

func (s Spec) validate() error {
	if !validSuite.MatchString(s.Suite) {
		return fmt.Errorf("suite %q is not a name of a Debian release", s.Suite)
	}
	if len(s.Packages) == 0 {
		return errors.New("no packages named")
	}
	for _, p := range s.Packages {
		if !validPackage.MatchString(p) {
			return fmt.Errorf("%q is not a name of a Debian package", p)
		}
	}
	return nil
}

// name is the same for the same set of packages, and tells a reader of the
// cache folder roughly what is in it.
func (s Spec) name() string {
	packages := slices.Compact(slices.Sorted(slices.Values(s.Packages)))
	sum := sha256.Sum256(fmt.Append(nil, packages, skipped()))
	return fmt.Sprintf("%s-%x", packages[0], sum[:6])
}

// Ensure returns a folder that holds the unpacked files of the packages and of
// their dependencies, laid out as on an installed system. It downloads them
// the first time and returns at once later on; concurrent callers wait for
// each other. Nothing in the folder may be changed. To get newer packages,
// remove the folder.
//
// Only the suite itself is consulted, not its -security and -updates suites.
// No maintainer script runs, so the programs are complete but not configured.
func Ensure(ctx context.Context, spec Spec) (string, error) {
	if err := spec.validate(); err != nil {
		return "", fmt.Errorf("unpacking Debian packages: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("choosing a cache folder: %w (set %s)", err, CacheEnv)
	}
	dir := filepath.Join(cache, "debian", spec.Suite)
	root := filepath.Join(dir, spec.name())
	if exists(root) {
		return root, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w (set %s to a folder that can be written to)", err, CacheEnv)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(root) { // the holder of the lock made it
		return root, nil
	}
	if err := build(ctx, dir, root, spec); err != nil {
		return "", fmt.Errorf("unpacking %s of Debian %s into %s: %w", strings.Join(spec.Packages, ", "), spec.Suite, root, err)
	}
	return root, nil
}

// build makes root by way of a temporary folder beside it, so that a root that
// exists is complete. The caller holds the lock of dir.
func build(ctx context.Context, dir, root string, spec Spec) error {
	stale, err := filepath.Glob(filepath.Join(dir, "unpack-*")) // of a caller that was killed
	if err != nil {
		return err
	}
	for _, left := range stale {
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	apt, err := newApt(filepath.Join(dir, "apt"), spec)
	if err != nil {
		return err
	}
	debs, err := apt.download(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, "unpack-")
	if err != nil {
		return err
	}
	if err := errors.Join(unpack(ctx, tmp, debs), apt.clean()); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, root)
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "numa-agent"), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lock waits until it holds the lock file.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the cache: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		held, err := linux.TryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("locking the cache: %w", err)
		}
		if held {
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another process to release %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
