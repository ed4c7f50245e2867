package numalab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"numa-agent/internal/debroot"
)

// Environment variables that replace what is unpacked from Debian's packages
// by what a machine has already.
const (
	QEMUEnv   = "NUMALAB_QEMU"   // path of a qemu-system-x86_64
	KernelEnv = "NUMALAB_KERNEL" // path of a bzImage or of a vmlinux with a PVH entry
)

// emulatorSpec is what the virtual machine is made of.
func emulatorSpec() debroot.Spec {
	return debroot.Spec{Suite: DefaultSuite, Packages: []string{"qemu-system-x86"}}
}

// guestSpec is what runs in it.
func guestSpec(suite string) debroot.Spec {
	return debroot.Spec{Suite: suite, Packages: []string{"linux-image-cloud-amd64", "busybox-static", "numactl", "redis-server", "redis-tools"}}
}

// QEMU's descriptors beside the standard ones: of the pipe that takes the
// report and of the packed files.
const (
	reportFD = "/dev/fd/3"
	initrdFD = "/dev/fd/4"
)

// qemuArguments describe the machine. Without tsc=reliable the kernel finds
// the emulated counter unstable and reads a device for the time, which is ten
// times slower.
func qemuArguments(cfg *Config, kernel string) []string {
	kernelLine := "console=ttyS0 panic=-1 rdinit=" + initPath + " mitigations=off tsc=reliable"
	if cfg.Console == nil {
		kernelLine += " quiet"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "file,id=report,path=" + reportFD, "-serial", "chardev:report",
		"-kernel", kernel, "-initrd", initrdFD, "-append", kernelLine,
	}
	cpus := 0
	for i, node := range cfg.Nodes {
		args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=m%d,size=%d", i, node.Memory))
		option := fmt.Sprintf("node,nodeid=%d,memdev=m%d", i, i)
		if node.CPUs > 0 {
			option += fmt.Sprintf(",cpus=%d-%d", cpus, cpus+node.CPUs-1)
		}
		args = append(args, "-numa", option)
		cpus += node.CPUs
	}
	distance := cfg.Distance
	if distance == nil {
		distance = UniformDistance(len(cfg.Nodes), RemoteDistance)
	}
	for i, row := range distance {
		for j, d := range row {
			if i != j {
				args = append(args, "-numa", fmt.Sprintf("dist,src=%d,dst=%d,val=%d", i, j, d))
			}
		}
	}
	// One socket for each CPU, as the kernel expects no socket to span nodes.
	return append(args, "-m", fmt.Sprintf("%dM", cfg.memory()/memoryUnit), "-smp", fmt.Sprintf("%d,sockets=%d,cores=1,threads=1", cpus, cpus))
}

// emulator is QEMU: the program that the environment names, or that of
// Debian's package in root.
type emulator struct{ path, root string }

func findEmulator(ctx context.Context) (emulator, error) {
	if path := os.Getenv(QEMUEnv); path != "" {
		return emulator{path: path}, nil
	}
	root, err := debroot.Ensure(ctx, emulatorSpec())
	return emulator{root: root}, err
}

func (e emulator) command(ctx context.Context, args []string) (*exec.Cmd, error) {
	if e.root == "" {
		return exec.CommandContext(ctx, e.path, args...), nil
	}
	// Where the package has its firmware, and its accelerator as a module.
	data := []string{"-L", filepath.Join(e.root, "usr/share/qemu"), "-L", filepath.Join(e.root, "usr/share/seabios")}
	cmd, err := debroot.Command(ctx, e.root, "usr/bin/qemu-system-x86_64", append(data, args...)...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, "QEMU_MODULE_DIR="+filepath.Join(e.root, "usr/lib/x86_64-linux-gnu/qemu"))
	return cmd, nil
}

// kernelImage returns the kernel that the environment names, or the root's.
func kernelImage(root string) (string, error) {
	if path := os.Getenv(KernelEnv); path != "" {
		return path, nil
	}
	pattern := filepath.Join(root, "boot", "vmlinuz-*")
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("looking for a kernel: %d files are %s, want one: %s", len(found), pattern, strings.Join(found, ", "))
	}
	return found[0], nil
}
