// Command demo shows what numa-agent does, and checks it. It runs in the lab
// (make demo): it puts a stock Redis with Zipf-distributed traffic on the
// wrong NUMA node, runs numa-agent rebalance on it, and compares before and
// after with what the generator of the traffic knows to be true.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"numa-agent/agent"
	"numa-agent/topology"
)

const (
	keys      = 200_000
	valueSize = 1000 // bytes
	skew      = 0.99
	requests  = 500_000 // GETs before the rebalance
	farNode   = 1       // where the data is put
	homeNode  = 0       // where the main thread runs afterwards
)

// What the demo promises.
const (
	wantTrueShare   = 0.90 // at least
	wantPagesMoved  = 0.10 // of the server's pages, at most
	wantEstimateGap = 0.05 // between the agent's share and the true one, at most
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	logging.Disable() // of go-redis: it complains of the server not being there yet
	machine, err := topology.DefaultFS().Machine()
	if err != nil {
		return err
	}
	if len(machine.Nodes) < 2 {
		return errors.New("this machine has one NUMA node: run it in the lab, with make demo")
	}
	// The kernel's own page migration would move pages meanwhile. Operators of
	// Redis switch it off for the stalls it causes.
	if err := os.WriteFile("/proc/sys/kernel/numa_balancing", []byte("0"), 0); err != nil {
		return fmt.Errorf("switching the kernel's NUMA balancing off: %w", err)
	}
	server, err := startServer(ctx, machine)
	if err != nil {
		return err
	}
	defer server.stop()
	start := time.Now()
	stage := func(format string, args ...any) {
		fmt.Printf("%4.0f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	stage("loading %d keys of %d bytes, with the server on node %d", keys, valueSize, farNode)
	traffic := newTraffic(server.client, keys, skew)
	if err := traffic.load(ctx); err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	if err := server.pin(ctx, machine, homeNode); err != nil {
		return err
	}
	stage("the server's threads now run on node %d; %d GETs, Zipf %v", homeNode, requests, skew)
	if err := traffic.get(ctx, requests); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	stage("measuring where every key lies")
	before, err := measure(ctx, server, traffic, homeNode)
	if err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	// The traffic goes on while the agent works.
	ended := make(chan error, 1)
	trafficCtx, stopTraffic := context.WithCancel(ctx)
	defer stopTraffic()
	go func() { ended <- traffic.getUntil(trafficCtx) }()
	stage("numa-agent rebalance --pid %d", server.pid())
	report, err := rebalance(ctx, server)
	if err != nil {
		return err
	}
	stopTraffic()
	if err := <-ended; err != nil {
		return fmt.Errorf("reading while pages moved: %w", err)
	}
	after, err := measure(ctx, server, traffic, homeNode)
	if err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	stage("done\n")
	oracle := before.oracle(report.Result.MovedBytes)
	show(report, before, after, oracle)
	return check(report, after)
}

// server is a stock redis-server.
type server struct {
	cmd    *exec.Cmd
	client *redis.Client
}

// startServer starts a server on the CPUs of the far node, so that the memory
// it touches first comes from there.
func startServer(ctx context.Context, m topology.Machine) (*server, error) {
	cpus, err := cpusOf(m, farNode)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.CommandContext(ctx, "taskset", "-c", cpus, "redis-server", "--port", "0", "--unixsocket", socket,
		"--save", "", "--maxmemory-policy", "allkeys-lfu")
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting redis-server: %w", err)
	}
	s := &server{cmd: cmd, client: redis.NewClient(&redis.Options{Network: "unix", Addr: socket, PoolSize: 2, ReadTimeout: time.Minute})}
	if err := s.waitReady(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// waitReady returns once the server answers.
func (s *server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.client.Ping(ctx).Err() != nil {
		select {
		case <-ctx.Done():
			return errors.New("redis-server does not answer")
		case <-tick.C:
		}
	}
	return nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) stop() {
	s.client.Close()
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// pin moves all threads of the server to the CPUs of a node.
func (s *server) pin(ctx context.Context, m topology.Machine, node int) error {
	cpus, err := cpusOf(m, node)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-apc", cpus, strconv.Itoa(s.pid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pinning the server to node %d: %w: %s", node, err, out)
	}
	return nil
}

func cpusOf(m topology.Machine, id int) (string, error) {
	node, ok := m.Node(id)
	if !ok || node.CPUs.Len() == 0 {
		return "", fmt.Errorf("node %d has no CPUs", id)
	}
	return node.CPUs.String(), nil
}

// rebalance runs the agent as an operator would.
func rebalance(ctx context.Context, s *server) (*agent.Report, error) {
	cmd := exec.CommandContext(ctx, "numa-agent", "rebalance", "--pid", strconv.Itoa(s.pid()), "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("numa-agent rebalance: %w\n%s", err, out)
	}
	report := new(agent.Report)
	if err := json.Unmarshal(out, report); err != nil {
		return nil, fmt.Errorf("reading the output of numa-agent: %w", err)
	}
	if report.Result == nil || report.After == nil {
		return nil, fmt.Errorf("numa-agent moved nothing: %v", report.Notes)
	}
	return report, nil
}
