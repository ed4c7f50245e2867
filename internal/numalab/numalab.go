package numalab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"numa-agent/internal/debroot"
	"numa-agent/internal/linux"
)

// consoleTail is how many bytes of the console an error shows.
const consoleTail = 4 << 10

// kernelMemory is what the kernel takes for itself, roughly.
const kernelMemory = 96 << 20

// Run starts the machine, runs the command in it and returns the command's
// exit code: 128 plus the number of the signal if one ended it. An error means
// that there is no exit code: the machine could not be made, did not boot,
// ended before the command did, or took too long; errors.Is tells a time limit
// (context.DeadlineExceeded) from an end of ctx (context.Canceled).
//
// The first call on a machine downloads Debian packages, about 80 MB; ctx
// limits that, Timeout does not. The machine is gone when Run returns, and
// also when the caller is killed.
func Run(ctx context.Context, cfg Config) (exitCode int, err error) {
	if cfg.Suite == "" {
		cfg.Suite = DefaultSuite
	}
	if cfg.Dir == "" {
		cfg.Dir = "/tmp"
	}
	if cfg.Stdout == nil {
		cfg.Stdout = io.Discard
	}
	if cfg.Stderr == nil {
		cfg.Stderr = io.Discard
	}
	if runtime.GOARCH != "amd64" {
		return 0, fmt.Errorf("starting the NUMA lab: %s is not supported, only amd64", runtime.GOARCH)
	}
	if err := cfg.validate(); err != nil {
		return 0, fmt.Errorf("starting the NUMA lab: %w", err)
	}
	vm, err := prepare(ctx, &cfg)
	if err != nil {
		return 0, fmt.Errorf("preparing the NUMA lab: %w", err)
	}
	defer vm.initrd.Close()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	return vm.boot(ctx, &cfg)
}

// machine is what the virtual machine is switched on with.
type machine struct {
	qemu   emulator
	args   []string
	initrd *os.File
}

// prepare downloads and packs what is missing.
func prepare(ctx context.Context, cfg *Config) (*machine, error) {
	qemu, err := findEmulator(ctx)
	if err != nil {
		return nil, err
	}
	root, err := debroot.Ensure(ctx, guestSpec(cfg.Suite))
	if err != nil {
		return nil, err
	}
	kernel, err := kernelImage(root)
	if err != nil {
		return nil, err
	}
	initrd, err := packInitrd(ctx, root, cfg)
	if err != nil {
		return nil, fmt.Errorf("packing the guest's files: %w", err)
	}
	return &machine{qemu: qemu, args: qemuArguments(cfg, kernel), initrd: initrd}, nil
}

// packInitrd returns the packed files of the guest, in a file without a name,
// which cannot be left over.
func packInitrd(ctx context.Context, root string, cfg *Config) (*os.File, error) {
	files, err := buildImage(ctx, root, cfg)
	if err != nil {
		return nil, err
	}
	// While the kernel unpacks them they are there twice.
	if need, have := 2*files.size()+kernelMemory, cfg.memory(); need > have {
		return nil, fmt.Errorf("files and kernel need %d MiB, the nodes have %d MiB: add memory or leave files out", need/memoryUnit, have/memoryUnit)
	}
	initrd, err := os.CreateTemp("", "numalab-initrd-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(initrd.Name()), files.pack(initrd)); err != nil {
		initrd.Close()
		return nil, err
	}
	return initrd, nil
}

// boot switches the machine on and waits for the end of the command.
func (vm *machine) boot(ctx context.Context, cfg *Config) (exitCode int, err error) {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("starting QEMU: %w", err)
	}
	defer report.Close()
	cmd, err := vm.qemu.command(ctx, vm.args)
	if err != nil {
		reportEnd.Close()
		return 0, fmt.Errorf("starting QEMU: %w", err)
	}
	var console, complaints tail
	cmd.Stdout, cmd.Stderr = &console, &complaints
	if cfg.Console != nil {
		cmd.Stdout = io.MultiWriter(&console, cfg.Console)
	}
	cmd.ExtraFiles = []*os.File{reportEnd, vm.initrd} // reportFD, initrdFD
	cmd.SysProcAttr = linux.DieWithParent()
	err = cmd.Start()
	reportEnd.Close()
	if err != nil {
		return 0, fmt.Errorf("starting QEMU: %w", err)
	}
	host := receiver{stdout: cfg.Stdout, stderr: cfg.Stderr, outputs: cfg.Outputs}
	exitCode, err = host.receive(report) // ends when QEMU does, and QEMU ends with ctx
	if !errors.Is(err, errNoExit) {
		_ = cmd.Process.Kill() // after the report nothing matters: the guest has no disk
	}
	waitErr := cmd.Wait()
	if err == nil {
		return exitCode, nil
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && host.booted:
		err = fmt.Errorf("the command did not end within %s: %w", cfg.Timeout, ctx.Err())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("the guest did not boot within %s: %w", cfg.Timeout, ctx.Err())
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, errNoExit):
		err = errors.Join(err, waitErr) // nil where the guest powered off or panicked
	}
	return 0, fmt.Errorf("running in the NUMA lab: %w%s%s", err, complaints.section("QEMU says"), console.section("console ends with"))
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - consoleTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// section returns the text under a title, or nothing if there is none.
func (t *tail) section(title string) string {
	text := strings.TrimSpace(strings.ReplaceAll(string(t.buf), "\r", ""))
	if text == "" {
		return ""
	}
	return "\n--- " + title + ":\n" + text
}
