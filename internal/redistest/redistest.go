// Package redistest starts real servers for tests and fills them.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a running redis-server that listens on a unix socket and nowhere
// else, keeps nothing on disk, and ends with the test.
type Server struct {
	PID    int
	Socket string
	*redis.Client
	cmd *exec.Cmd
}

// Start runs a server with the given further arguments
// ("--maxmemory-policy", "allkeys-lfu").
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return start(tb, append([]string{"--save", ""}, args...)...)
}

// StartAs runs a server as another user, which takes root, listening on a
// loopback port that this user can reach.
func StartAs(tb testing.TB, uid, gid uint32, port int) *Server {
	tb.Helper()
	return launch(tb, func(cmd *exec.Cmd, dir string) {
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			tb.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}, "--save", "", "--port", strconv.Itoa(port))
}

func start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launch(tb, func(*exec.Cmd, string) {}, append(args, "--port", "0")...)
}

func launch(tb testing.TB, prepare func(cmd *exec.Cmd, dir string), args ...string) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "redistest") // short: a socket's path has 108 bytes
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Socket: filepath.Join(dir, "s")}
	s.cmd = command(tb, append(args, "--unixsocket", s.Socket,
		"--dir", dir, "--logfile", filepath.Join(dir, "log"))...)
	prepare(s.cmd, dir)
	if err := s.cmd.Start(); err != nil {
		tb.Fatalf("starting redis-server: %v", err)
	}
	s.PID = s.cmd.Process.Pid
	s.Client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.Socket, ReadTimeout: time.Minute})
	tb.Cleanup(s.Stop)
	if err := s.waitReady(tb.Context()); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		tb.Fatalf("waiting for redis-server: %v\n%s", err, log)
	}
	return s
}

// Stop kills the server and waits for its end. It may be called twice.
func (s *Server) Stop() {
	s.Close()
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// waitReady returns once the server answers: there is nothing to wait on but
// its socket, which it makes when it is ready.
func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.Ping(ctx).Err()
		if err == nil || errors.As(err, new(redis.Error)) {
			return nil // an error reply, for want of a password, is an answer too
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer on %s: %w", s.Socket, err)
		case <-tick.C:
		}
	}
}

// StartSentinel runs a Sentinel with the given writable configuration file.
func StartSentinel(tb testing.TB, conf string) *Server {
	tb.Helper()
	return start(tb, conf, "--sentinel")
}
