package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"numa-agent/internal/debroot"
	"numa-agent/internal/numalab"
)

// maxPackage is the most bytes of a package folder that go with a test.
const maxPackage = 64 << 20

// config is what the command line asks for when given in folder dir.
func (o *options) config(dir string, environ []string) (numalab.Config, error) {
	cfg := numalab.Config{
		Nodes:    o.nodes,
		Distance: numalab.UniformDistance(len(o.nodes), o.distance),
		Suite:    o.suite,
		Timeout:  o.timeout,
		Command:  slices.Clone(o.command),
		Env:      append(passedOn(environ), o.env...),
	}
	program, err := hostProgram(dir, cfg.Command[0])
	if err != nil {
		return cfg, err
	}
	if program != nil {
		cfg.Command[0] = program[0].Guest
		cfg.Files = program
	}
	if program != nil && isTest(cfg.Command) {
		if err := asTest(&cfg, dir); err != nil {
			return cfg, err
		}
	}
	cfg.Files = append(cfg.Files, o.files...)
	return cfg, nil
}

// hostProgram returns a program of this machine and its libraries, or nothing
// if name is that of a program of the guest.
func hostProgram(dir, name string) ([]numalab.File, error) {
	if !strings.Contains(name, "/") {
		return nil, nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(name) {
		return nil, nil
	}
	return numalab.Program("/", path)
}

// passedOn returns the variables that the guest gets from the host: ours, and
// those that a Go program's runtime reads (package runtime, "Environment
// Variables", and the race detector's). The others of GO* are for the go
// command and name folders of the host.
func passedOn(environ []string) []string {
	forRuntime := []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK"}
	var env []string
	for _, variable := range environ {
		key, _, _ := strings.Cut(variable, "=")
		ours := strings.HasPrefix(key, "NUMA_AGENT_") || strings.HasPrefix(key, "NUMALAB_")
		if ours && key != debroot.CacheEnv || slices.Contains(forRuntime, key) {
			env = append(env, variable)
		}
	}
	return env
}

// isTest reports whether the go command runs a test binary.
func isTest(command []string) bool {
	return strings.HasSuffix(command[0], ".test") &&
		slices.ContainsFunc(command[1:], func(arg string) bool { return strings.HasPrefix(arg, "-test.") })
}

// asTest has a test find its package folder, as go test promises, and write
// the files that its flags name (go help testflag).
func asTest(cfg *numalab.Config, dir string) error {
	cfg.Dir = dir
	files, err := packageFiles(dir)
	if err != nil {
		return fmt.Errorf("copying the package folder %s: %w", dir, err)
	}
	cfg.Files = append(cfg.Files, files...)
	flags := map[string]string{"outputdir": dir}
	for _, arg := range cfg.Command[1:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "-test."), "=")
		flags[name] = value
	}
	for _, name := range []string{"outputdir", "gocoverdir"} {
		if folder := flags[name]; folder != "" && folder != dir {
			cfg.Files = append(cfg.Files, numalab.File{Host: folder, Guest: folder})
		}
	}
	for _, name := range []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace", "testlogfile"} {
		path := flags[name]
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(flags["outputdir"], path)
		}
		cfg.Outputs = append(cfg.Outputs, numalab.File{Host: path, Guest: path})
	}
	return nil
}

// packageFiles returns the files of a package folder and its testdata; other
// folders in it are other packages.
func packageFiles(dir string) ([]numalab.File, error) {
	var files []numalab.File
	var size int64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != dir && filepath.Dir(path) == dir && entry.Name() != "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if size += info.Size(); size > maxPackage {
			return fmt.Errorf("more than %d MiB", maxPackage>>20)
		}
		files = append(files, numalab.File{Host: path, Guest: path})
		return nil
	})
	return files, err
}
