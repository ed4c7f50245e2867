//go:build numalab

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"numa-agent/agent"
	"numa-agent/internal/redistest"
	"numa-agent/topology"
)

// TestMain lets a test run this program as another user.
func TestMain(m *testing.M) {
	if os.Getenv("NUMA_AGENT_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

const home = 0

// farServer starts a server whose memory is on the last node with CPUs, and
// whose threads then move to node 0. The kernel's own page migration is off.
func farServer(t *testing.T, args ...string) *redistest.Server {
	t.Helper()
	if err := os.WriteFile("/proc/sys/kernel/numa_balancing", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	machine, err := topology.DefaultFS().Machine()
	if err != nil {
		t.Fatal(err)
	}
	nodes := slices.DeleteFunc(slices.Clone(machine.Nodes), func(n topology.Node) bool { return n.CPUs.Len() == 0 })
	far := nodes[len(nodes)-1]
	if far.ID == home {
		t.Fatal("needs two nodes with CPUs: run it with make lab")
	}
	s := redistest.Start(t, append([]string{"--server_cpulist", far.CPUs.String(), "--bio_cpulist", far.CPUs.String()}, args...)...)
	t.Cleanup(func() { s.Stop() })
	return s
}

// goHome moves all threads of the server to the CPUs of node 0.
func goHome(t *testing.T, s *redistest.Server) {
	t.Helper()
	machine, err := topology.DefaultFS().Machine()
	if err != nil {
		t.Fatal(err)
	}
	node, _ := machine.Node(home)
	if out, err := exec.Command("taskset", "-apc", node.CPUs.String(), pid(s)).CombinedOutput(); err != nil {
		t.Fatalf("taskset: %v: %s", err, out)
	}
}

// dump reads every dataset key over the wire.
func dump(t *testing.T, s *redistest.Server, keys map[string]string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for key := range keys {
		payload, err := s.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = payload
	}
	return all
}

// churn writes, overwrites and deletes other keys until stopped.
func churn(t *testing.T, s *redistest.Server) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for ctx.Err() == nil {
			p := s.Pipeline()
			for range 50 {
				key := fmt.Sprintf("churn:%d", rng.IntN(2000))
				p.Set(ctx, key, strings.Repeat("c", rng.IntN(3000)), 0)
				p.Del(ctx, fmt.Sprintf("churn:%d", rng.IntN(2000)))
				p.HSet(ctx, "churn:hash", fmt.Sprintf("f%d", rng.IntN(500)), rng.IntN(1000))
			}
			if _, err := p.Exec(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("writing meanwhile: %v", err)
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

func report(t *testing.T, r result) *agent.Report {
	t.Helper()
	report := new(agent.Report)
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil {
		t.Fatalf("%v in %q; stderr: %s", err, r.stdout, r.stderr)
	}
	return report
}

var debugObject = regexp.MustCompile(`Value at:(0x[0-9a-f]+) refcount:(\d+)`)

// TestLabEveryEncoding moves a key of every type and encoding, by either
// source, under concurrent writes, and finds its memory at home and its bytes
// unchanged.
func TestLabEveryEncoding(t *testing.T) {
	for _, source := range []string{"memory", "freq"} {
		t.Run(source, func(t *testing.T) {
			s := farServer(t, append(redistest.DatasetArgs, "--maxmemory-policy", "allkeys-lfu", "--activerehashing", "no")...)
			keys := redistest.LoadDataset(t.Context(), t, s)
			goHome(t, s)
			before := dump(t, s, keys)
			stop := churn(t, s)
			plan := report(t, cmdline(t, nil, "plan", "--pid", pid(s), "--budget", "all", "--source", source, "-o", "json"))
			r := cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "all", "--source", source, "--redis-share", "0.5", "-o", "json")
			stop()
			r.check(t, exitOK)
			got := report(t, r)
			if plan.Plan.Pages == 0 || !plan.DryRun || plan.Result.MovedPages != 0 {
				t.Errorf("plan: %+v", plan.Plan)
			}
			if got.After.LocalHeatShare < 0.95 || got.After.LocalHeatShare < got.Before.LocalHeatShare || got.Result.MovedPages == 0 {
				t.Errorf("before %+v, after %+v, result %+v", got.Before, got.After, got.Result)
			}
			if got.Target.HomeNode != home || got.Sample.Source != source {
				t.Errorf("home node %d, source %s", got.Target.HomeNode, got.Sample.Source)
			}
			// Writes went on after the sample: bring home what was late.
			cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "all").check(t, exitOK)
			for key := range keys {
				checkAtHome(t, s, key)
			}
			if after := dump(t, s, keys); !maps.Equal(before, after) {
				t.Error("the data changed")
			}
		})
	}
}

// checkAtHome checks that all memory of a key is on the home node, and that
// it is the memory the server itself names.
func checkAtHome(t *testing.T, s *redistest.Server, key string) {
	t.Helper()
	r := cmdline(t, nil, "key", key, "--pid", pid(s), "-o", "json")
	r.check(t, exitOK)
	var got agent.KeyReport
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	// Memory that was allocated and never written to is nowhere yet.
	delete(got.PagesByNode, -1)
	if got.Incomplete || len(got.PagesByNode) != 1 || got.PagesByNode[home] == 0 {
		t.Errorf("key %q: pages by node %v, incomplete %v", key, got.PagesByNode, got.Incomplete)
	}
	m := debugObject.FindStringSubmatch(s.Do(t.Context(), "DEBUG", "OBJECT", key).String())
	if m == nil {
		t.Fatalf("key %q: no address in DEBUG OBJECT's answer", key)
	}
	object := slices.IndexFunc(got.Extents, func(x agent.ExtentReport) bool { return x.Kind == "object" })
	if shared := m[2] == "2147483647"; !shared && (object < 0 || got.Extents[object].Addr != m[1]) {
		t.Errorf("key %q: object is not at %s", key, m[1])
	}
}

// TestLabNodes: nodes that do not exist, have no CPUs, or are not allowed.
func TestLabNodes(t *testing.T) {
	s := farServer(t)
	redistest.LoadDataset(t.Context(), t, s)
	goHome(t, s)
	machine, err := topology.DefaultFS().Machine()
	if err != nil {
		t.Fatal(err)
	}
	cmdline(t, nil, "rebalance", "--pid", pid(s), "--home-node", "63").check(t, exitUsage, "node 63 does not exist")
	for _, n := range machine.Nodes {
		if n.CPUs.Len() > 0 {
			continue
		}
		r := cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "all", "--home-node", strconv.Itoa(n.ID), "-o", "json")
		r.check(t, exitOK)
		if got := report(t, r); got.After.LocalHeatShare < 0.9 {
			t.Errorf("on node %d, which has no CPUs: share %v", n.ID, got.After.LocalHeatShare)
		}
	}
	far := machine.Nodes[len(machine.Nodes)-1].ID
	group := "/sys/fs/cgroup/labtest"
	for _, w := range []struct{ file, text string }{
		{"/sys/fs/cgroup/cgroup.subtree_control", "+cpuset"},
		{group + "/cpuset.mems", strconv.Itoa(far)},
		{group + "/cgroup.procs", pid(s)},
	} {
		os.Mkdir(group, 0o755)
		if err := os.WriteFile(w.file, []byte(w.text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goHome(t, s) // a new cpuset resets affinity
	cmdline(t, nil, "rebalance", "--pid", pid(s), "--home-node", "0").check(t, exitUsage, "may not have memory on node 0", "cpuset")
	r := cmdline(t, nil, "rebalance", "--pid", pid(s))
	r.check(t, exitOK)
	if !strings.Contains(r.stdout, "home-node-not-allowed") {
		t.Error(r.stdout)
	}
}

// TestLabBudget: a rebalance stays within its budget and stops at a share.
func TestLabBudget(t *testing.T) {
	s := farServer(t, "--maxmemory-policy", "allkeys-lfu")
	p := s.Pipeline()
	for i := range 20_000 {
		p.Set(t.Context(), fmt.Sprintf("key:%d", i), strings.Repeat("v", 400), 0)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	goHome(t, s)
	r := cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "256KiB", "-o", "json")
	r.check(t, exitOK)
	if got := report(t, r); got.Result.MovedBytes != 256<<10 || got.Plan.Skipped["over-budget"] == 0 {
		t.Errorf("moved %d bytes, skipped %v", got.Result.MovedBytes, got.Plan.Skipped)
	}
	r = cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "all", "--until-share", "0.5", "-o", "json")
	r.check(t, exitOK)
	if got := report(t, r); got.After.LocalHeatShare < 0.5 || got.After.LocalHeatShare > 0.7 {
		t.Errorf("stopped at a share of %v, wanted 0.5", got.After.LocalHeatShare)
	}
	r = cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "4096", "--until-share", "1", "-o", "json")
	r.check(t, exitPartial, "over-budget")
	cmdline(t, nil, "plan", "--pid", pid(s), "--exit-code").check(t, exitPending)
}

// TestLabACL: the user of docs/permissions.md is enough, by either source, and
// one that may not SCAN is told so.
func TestLabACL(t *testing.T) {
	s := farServer(t, "--maxmemory-policy", "allkeys-lfu")
	redistest.LoadDataset(t.Context(), t, s)
	goHome(t, s)
	rules := "+hello +client|setname +info +select +scan +object|freq +object|idletime"
	for user, more := range map[string]string{"numa-agent": "+select", "blind": "-scan"} {
		args := []any{"ACL", "SETUSER", user, "on", ">secret", "resetchannels", "%R~*"}
		for _, rule := range strings.Fields(rules + " " + more) {
			args = append(args, rule)
		}
		if err := s.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"REDIS_USER": "numa-agent", "REDIS_PASSWORD": "secret"}
	for _, source := range []string{"memory", "freq"} {
		cmdline(t, env, "rebalance", "--pid", pid(s), "--source", source).check(t, exitOK)
	}
	env["REDIS_USER"] = "blind"
	cmdline(t, env, "plan", "--pid", pid(s)).check(t, exitOK)
	cmdline(t, env, "plan", "--pid", pid(s), "--source", "freq").check(t, exitPermission, "NOPERM", "scan")
}

// TestLabSaving: while a child of the server shares its pages, none moves.
func TestLabSaving(t *testing.T) {
	s := farServer(t, "--maxmemory-policy", "allkeys-lfu", "--rdb-key-save-delay", "200000")
	keys := redistest.LoadDataset(t.Context(), t, s)
	goHome(t, s)
	if err := s.BgSave(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r := cmdline(t, nil, "rebalance", "--pid", pid(s), "--budget", "all", "-o", "json", "--log-level", "info", "--log-format", "json")
	if r.code != exitOK || !strings.Contains(r.stderr, "waiting for the server's child process to end") {
		t.Errorf("exit code %d, stderr %s", r.code, r.stderr)
	}
	if got := report(t, r); got.Result.MovedPages == 0 || len(got.Result.FailedPages) > 0 {
		t.Errorf("%+v", got.Result)
	}
	if info := s.Info(t.Context(), "persistence").Val(); !strings.Contains(info, "rdb_last_bgsave_status:ok") || !strings.Contains(info, "rdb_bgsave_in_progress:0") {
		t.Errorf("the save of %d keys was harmed: %s", len(keys), info)
	}
}

// TestLabEmpty: no keys, no moves, no error.
func TestLabEmpty(t *testing.T) {
	s := farServer(t)
	goHome(t, s)
	r := cmdline(t, nil, "rebalance", "--pid", pid(s))
	r.check(t, exitOK)
	if !strings.Contains(r.stdout, "the keyspace is empty") {
		t.Error(r.stdout)
	}
}

// TestLabIdle: nothing was accessed for so long that nothing is hot.
func TestLabIdle(t *testing.T) {
	s := farServer(t, "--maxmemory-policy", "allkeys-lfu", "--lfu-decay-time", "0")
	s.Set(t.Context(), "first", "value", 0)
	payload := s.Dump(t.Context(), "first").Val()
	s.Del(t.Context(), "first")
	if err := s.Do(t.Context(), "RESTORE", "key", 0, payload, "FREQ", 0).Err(); err != nil {
		t.Fatal(err)
	}
	goHome(t, s)
	r := cmdline(t, nil, "rebalance", "--pid", pid(s), "-o", "json")
	r.check(t, exitOK)
	if got := report(t, r); len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "no key was accessed lately") || got.After == nil || got.Sample.Keys != 1 {
		t.Error(r.stdout)
	}
}

// TestLabPermission runs numa-agent as users that may not do what it needs.
func TestLabPermission(t *testing.T) {
	dir := "/usr/local/labtest"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "numa-agent")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	const redisID, otherID = 999, 1000
	s := redistest.StartAs(t, redisID, redisID, 7701)
	s.Set(t.Context(), "key", "value", 0)
	as := func(uid, gid uint32, args ...string) result {
		var out, errs strings.Builder
		cmd := exec.Command(program, append(args, "--redis.addr", "127.0.0.1:7701")...)
		cmd.Env = []string{"NUMA_AGENT_TEST_MAIN=1"}
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		err := cmd.Run()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
	for _, command := range []string{"plan", "rebalance"} {
		as(redisID, redisID, command).check(t, exitOK)
		as(otherID, otherID, command).check(t, exitPermission, "uid 999", "CAP_SYS_PTRACE")
		as(redisID, otherID, command).check(t, exitPermission, "CAP_SYS_PTRACE")
	}
	as(redisID, redisID, "key", "key").check(t, exitOK)
	as(redisID, redisID, "doctor").check(t, exitOK)
	doctor := as(otherID, otherID, "doctor")
	doctor.check(t, exitPermission)
	if !strings.Contains(doctor.stdout, "fix: ") || !strings.Contains(doctor.stdout, "another uid") && !strings.Contains(doctor.stdout, "target") {
		t.Error(doctor.stdout)
	}
	if got := s.Get(t.Context(), "key").Val(); got != "value" {
		t.Errorf("the server was harmed: key is %q", got)
	}
}

// TestLabVanishing: the server is killed while its pages move.
func TestLabVanishing(t *testing.T) {
	s := farServer(t)
	p := s.Pipeline()
	for i := range 30_000 {
		p.Set(t.Context(), fmt.Sprintf("key:%d", i), strings.Repeat("v", 900), 0)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	goHome(t, s)
	a, err := agent.New(t.Context(), labConfig(t, s), topology.DefaultFS(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	_, err = a.Rebalance(t.Context(), func(done, total int) {
		if done > total/4 {
			s.Stop()
		}
	})
	if code := exitCode(err); code != exitTarget {
		t.Errorf("exit code %d for %v, want %d", code, err, exitTarget)
	}
}

func labConfig(t *testing.T, s *redistest.Server) agent.Config {
	t.Helper()
	cfg := agent.DefaultConfig()
	cfg.PID = s.PID
	if err := cfg.Budget.Set("all"); err != nil {
		t.Fatal(err)
	}
	return cfg
}
