package numalab

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/term"

	"numa-agent/internal/linux"
)

// reportPort is the guest's end of the serial port that carries frames.
const reportPort = "/dev/ttyS1"

// guestPath is the PATH of the command.
const guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// RunAsInit returns at once, except in the first process of a virtual machine
// of this package: there it runs the machine's command and never returns.
// Every program that calls Run calls it first in its main function, or a test
// in its TestMain, for that program is copied into the guest as its init.
func RunAsInit() {
	if os.Getpid() != 1 {
		return
	}
	encoded, err := os.ReadFile(jobPath)
	if err != nil {
		return // pid 1 of a container
	}
	if err := initMain(encoded); err != nil {
		fmt.Println("numalab:", err) // on the console, whose end the host shows
	}
	err = linux.PowerOff() // returns only if it fails
	fmt.Println("numalab: powering off:", err)
	os.Exit(1) // makes the kernel panic, which ends the machine too
}

func initMain(encoded []byte) error {
	if err := mountAll(); err != nil {
		return err
	}
	port, err := openReport()
	if err != nil {
		return err
	}
	defer port.Close() // waits until all is sent
	report := &frameWriter{w: port}
	if err := report.write(frameBooted, nil); err != nil {
		return err
	}
	code, err := runJob(encoded, report)
	if err != nil {
		return report.write(frameFailure, []byte(err.Error()))
	}
	return report.write(frameExit, []byte(strconv.Itoa(code)))
}

// mountAll mounts what programs expect. The root is a tmpfs already.
func mountAll() error {
	for _, m := range []struct{ fstype, target string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/dev/shm"},
		{"devpts", "/dev/pts"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := linux.Mount(m.fstype, m.target); err != nil {
			return err
		}
	}
	return nil
}

// openReport opens the port and takes its name away, lest the command write
// to it by accident.
func openReport() (*os.File, error) {
	port, err := os.OpenFile(reportPort, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err := term.MakeRaw(int(port.Fd())); err != nil {
		return nil, fmt.Errorf("making %s pass on bytes as they are: %w", reportPort, err)
	}
	return port, os.Remove(reportPort)
}

// runJob runs the command to its end, then ends all it left behind and sends
// the files asked for.
func runJob(encoded []byte, report *frameWriter) (exitCode int, err error) {
	var todo job
	if err := json.Unmarshal(encoded, &todo); err != nil {
		return 0, fmt.Errorf("reading %s: %w", jobPath, err)
	}
	if err := linux.LoopbackUp(); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(todo.Dir, 0o755); err != nil {
		return 0, err
	}
	env := append([]string{
		"PATH=" + guestPath, "HOME=/root", "USER=root", "LOGNAME=root", "PWD=" + todo.Dir, "TERM=dumb", "NUMALAB=1",
	}, todo.Env...)
	for _, variable := range env { // also for looking the command up
		key, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(key, value); err != nil {
			return 0, err
		}
	}
	exitCode, err = runCommand(todo.Command, todo.Dir, report)
	if err != nil {
		return 0, err
	}
	for i, name := range todo.Outputs {
		if err := sendFile(i, name, report); err != nil {
			return 0, fmt.Errorf("sending %s: %w", name, err)
		}
	}
	return exitCode, nil
}

// runCommand starts the command and reaps whatever ends until it does. It
// does not use cmd.Wait, which would wait for the same children.
func runCommand(command []string, dir string, report *frameWriter) (exitCode int, err error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	stdout, stdoutEnd, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	stderr, stderrEnd, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	process, err := os.StartProcess(path, command, &os.ProcAttr{
		Dir: dir, Env: os.Environ(), Files: []*os.File{null, stdoutEnd, stderrEnd},
	})
	if err != nil {
		return 0, err
	}
	stdoutEnd.Close()
	stderrEnd.Close()
	var pass sync.WaitGroup
	var passErrors [2]error
	pass.Go(func() { _, passErrors[0] = io.Copy(report.stream(frameStdout), stdout) })
	pass.Go(func() { _, passErrors[1] = io.Copy(report.stream(frameStderr), stderr) })
	for {
		pid, status, err := linux.ReapChild()
		if err != nil {
			return 0, err
		}
		if pid == process.Pid {
			exitCode = status
			break
		}
	}
	// What the command left running holds the pipes open.
	if err := linux.KillAll(); err != nil {
		return 0, err
	}
	pass.Wait()
	return exitCode, errors.Join(passErrors[:]...)
}

// sendFile sends the file, compressed as the port is slow. A file that is not
// there is not sent: a command may well fail before it writes it.
func sendFile(index int, name string, report *frameWriter) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := report.write(frameFile, []byte(strconv.Itoa(index))); err != nil {
		return err
	}
	compressed := gzip.NewWriter(report.stream(frameData))
	if _, err := io.Copy(compressed, f); err != nil {
		return err
	}
	return compressed.Close()
}
