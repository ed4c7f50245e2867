package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"time"

	"go.uber.org/zap"

	"numa-agent/internal/linux"
	"numa-agent/keyspace"
	"numa-agent/mover"
	"numa-agent/policy"
	"numa-agent/sampler"
	"numa-agent/topology"
)

// Agent runs cycles on one target.
type Agent struct {
	cfg     Config
	sys     topology.FS
	log     *zap.Logger
	target  *Target
	machine topology.Machine
	process topology.Process
}

// New finds the target that cfg means. The caller closes the Agent.
func New(ctx context.Context, cfg Config, sys topology.FS, log *zap.Logger) (*Agent, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	machine, err := sys.Machine()
	if err != nil {
		return nil, fmt.Errorf("reading the machine's topology: %w", err)
	}
	target, err := Find(ctx, cfg, sys)
	if err != nil {
		return nil, err
	}
	log.Debug("target found", zap.Int("pid", target.PID), zap.String("server", target.Info.Server),
		zap.String("version", target.Info.Version), zap.String("run_id", target.Info.RunID))
	return &Agent{cfg: cfg, sys: sys, log: log, target: target, machine: machine}, nil
}

// Close ends the connection to the target.
func (a *Agent) Close() error { return a.target.Close() }

// Progress is called while pages move: done of total are settled.
type Progress func(done, total int)

// maxCycles bounds how many cycles Rebalance runs.
const maxCycles = 5

// Plan runs a cycle up to the plan and moves nothing.
func (a *Agent) Plan(ctx context.Context) (*Report, error) {
	report, _, err := a.plan(ctx)
	if report != nil {
		report.DryRun = true
	}
	return report, err
}

// Rebalance runs one cycle, or, where Config.UntilShare asks for a local heat
// share, as many as it takes to measure that share, as long as each makes
// progress. The error wraps ErrPartial when pages could not be moved or the
// share was not reached; the report tells of all cycles all the same.
func (a *Agent) Rebalance(ctx context.Context, progress Progress) (*Report, error) {
	report, err := a.cycle(ctx, progress)
	for n := 1; n < maxCycles && (err == nil || errors.Is(err, ErrPartial)) && a.wantsMore(report); n++ {
		var next *Report
		next, err = a.cycle(ctx, progress)
		next.follow(report)
		report = next
	}
	if err == nil && report.After != nil && report.After.LocalHeatShare < a.cfg.UntilShare {
		err = fmt.Errorf("%w: local heat share is %.3f, wanted %.3f: the rest was skipped (%v)",
			ErrPartial, report.After.LocalHeatShare, a.cfg.UntilShare, report.Plan.Skipped)
	}
	return report, err
}

// wantsMore reports whether another cycle could bring the share closer to
// what was asked for.
func (a *Agent) wantsMore(r *Report) bool {
	return r.After != nil && r.Result.MovedPages > 0 && r.After.LocalHeatShare < a.cfg.UntilShare
}

// cycle plans, moves, and looks again.
func (a *Agent) cycle(ctx context.Context, progress Progress) (*Report, error) {
	report, state, err := a.plan(ctx)
	if err != nil || state == nil {
		return report, err
	}
	if state.plan.Pages == 0 {
		report.Result, report.After = resultReport(mover.Result{}), report.Before
		return report, nil
	}
	if err := a.waitForChild(ctx); err != nil {
		return report, err
	}
	m, err := mover.New(mover.Linux{}, a.cfg.Mover)
	if err != nil {
		return report, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	result, moveErr := m.Run(ctx, mover.Target{PID: a.target.PID, Alive: a.target.Alive}, state.moves(), func(p mover.Progress) {
		if progress != nil {
			progress(p.Done, p.Total)
		}
	})
	report.Result = resultReport(result)
	a.log.Info("moved", zap.Int("pages", result.MovedPages), zap.Any("failed", result.Failed),
		zap.Int("calls", result.Calls), zap.Duration("longest_call", result.LongestCall))
	if moveErr != nil {
		return report, moveFailure(moveErr)
	}
	if report.After, err = a.placement(ctx, state); err != nil {
		return report, err
	}
	return report, failed(result)
}

// failed says which planned pages did not arrive. Pages that the server freed
// meanwhile are no failure.
func failed(r mover.Result) error {
	gone := r.Failed[linux.ErrnoName(-int32(linux.ENOENT))] + r.Failed[linux.ErrnoName(-int32(linux.EFAULT))]
	if left := r.Submitted - r.MovedPages - r.AlreadyThere - gone; left > 0 {
		return fmt.Errorf("%w: %d of %d stayed (%v)", ErrPartial, left, r.Submitted, r.Failed)
	}
	return nil
}

func moveFailure(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: interrupted", ErrPartial)
	}
	if errors.Is(err, topology.ErrProcessGone) {
		return fmt.Errorf("%w: the server ended while its pages moved: %w", ErrTarget, err)
	}
	return fmt.Errorf("moving pages: %w", err)
}

// state is what one cycle knows beyond its report.
type state struct {
	home   int
	sample *sampler.Sample
	plan   policy.Plan
}

func (s *state) moves() []mover.Move {
	moves := make([]mover.Move, len(s.plan.Moves))
	for i, m := range s.plan.Moves {
		moves[i] = mover.Move{Addr: m.Addr, Size: m.Size(), From: m.Node, To: m.To}
	}
	return moves
}

// plan runs a cycle up to the plan. Where there is nothing to do the state is
// nil and the report's notes say why.
func (a *Agent) plan(ctx context.Context) (*Report, *state, error) {
	t := a.target
	report := &Report{Schema: Schema, Notes: []string{}, Target: TargetReport{
		PID: t.PID, Server: t.Info.Server, Version: t.Info.Version, RunID: t.Info.RunID}}
	if err := a.identify(ctx); err != nil {
		return report, nil, err
	}
	home, err := a.homeNode(ctx, &report.Target)
	if err != nil {
		return report, nil, err
	}
	if len(a.machine.Nodes) == 1 {
		report.Notes = append(report.Notes, fmt.Sprintf(
			"this machine has one NUMA node (%d): all memory is local, there is nothing to move", a.machine.Nodes[0].ID))
		return report, nil, nil
	}
	sample, err := a.sample(ctx, pageShift())
	if err != nil {
		return report, nil, err
	}
	report.Sample = sampleReport(sample, t.Info.Policy)
	if sample.Keys == 0 {
		report.Notes = append(report.Notes, "the keyspace is empty: there is nothing to move")
		return report, nil, nil
	}
	s := &state{home: home, sample: sample}
	resident, err := a.bytesByNode()
	if err != nil {
		return report, nil, err
	}
	total := uint64(0)
	for _, b := range resident {
		total += b
	}
	pages, err := a.pages(sample.Heat, pageShift())
	if err != nil {
		return report, nil, err
	}
	budget := a.cfg.Budget.Bytes(total)
	s.plan = policy.Greedy(policy.Snapshot{
		Home:         home,
		AllowedNodes: a.process.AllowedNodes,
		Nodes:        a.nodeMemory(),
		Pages:        pages,
		BudgetBytes:  budget,
		UntilShare:   a.cfg.UntilShare,
	})
	report.Sample.HotPages = len(pages)
	report.Before = &Placement{BytesByNode: resident, LocalHeatShare: s.plan.ShareBefore}
	report.Plan = planReport(s.plan, budget)
	if len(pages) == 0 {
		report.Notes = append(report.Notes, "no key was accessed lately: there is nothing to move")
	} else if s.plan.Pages == 0 {
		report.Notes = append(report.Notes, "no page is worth moving: see the reasons under skipped")
	}
	a.log.Info("planned", zap.String("source", sample.Source), zap.Uint64("keys", sample.Keys), zap.Int("home_node", home),
		zap.Int("pages", s.plan.Pages), zap.Float64("share_before", s.plan.ShareBefore), zap.Float64("share_after", s.plan.ShareAfter))
	return report, s, nil
}

// identify makes sure that the target is still the server that was found, and
// is in a state in which its memory can be read.
func (a *Agent) identify(ctx context.Context) error {
	if !a.target.Alive() {
		return fmt.Errorf("%w: pid %d ended", ErrTarget, a.target.PID)
	}
	info, err := a.target.ReadInfo(ctx)
	if err != nil {
		return err
	}
	if info.RunID != a.target.Info.RunID {
		return fmt.Errorf("%w: another server (run_id %s) answers in place of the one found (%s): run again", ErrTarget, info.RunID, a.target.Info.RunID)
	}
	if info.Loading {
		return fmt.Errorf("%w: the server is loading its data: run again when it is done", ErrTarget)
	}
	a.target.Info = info
	if a.process, err = a.sys.Process(a.target.PID); err != nil {
		return processError(fmt.Sprintf("looking at pid %d", a.target.PID), err)
	}
	if a.process.StartTicks != a.target.StartTicks {
		return fmt.Errorf("%w: pid %d is another process by now: run again", ErrTarget, a.target.PID)
	}
	if a.machine, err = a.sys.Machine(); err != nil { // free memory changes
		return fmt.Errorf("reading the machine's topology: %w", err)
	}
	if a.process.AllowedNodes.Len() == 0 { // a kernel without cpusets allows all
		a.process.AllowedNodes = a.nodes()
	}
	return nil
}

// nodes are all nodes of the machine.
func (a *Agent) nodes() topology.IDSet {
	ids := make([]int, len(a.machine.Nodes))
	for i, n := range a.machine.Nodes {
		ids[i] = n.ID
	}
	return topology.NewIDSet(ids...)
}

// How the main thread is watched before its node is called home.
const (
	looks     = 8
	lookPause = 25 * time.Millisecond
)

// homeNode decides which node pages should come home to.
func (a *Agent) homeNode(ctx context.Context, report *TargetReport) (int, error) {
	nodes := make([]int, 0, looks)
	var pinned topology.IDSet
	for i := range looks {
		if i > 0 {
			if err := sleep(ctx, lookPause); err != nil {
				return 0, err
			}
		}
		threads, err := a.sys.Threads(a.target.PID, a.machine)
		if err != nil {
			return 0, processError(fmt.Sprintf("looking at the threads of pid %d", a.target.PID), err)
		}
		nodes = append(nodes, threads[0].Node)
		pinned = a.machine.NodesOfCPUs(threads[0].AllowedCPUs)
		report.MainThreadNode = threads[0].Node
	}
	if home := a.cfg.HomeNode; home != AutoHome {
		report.HomeNode, report.HomeReason = home, "asked for"
		return home, a.checkNode(home)
	}
	home, why, err := policy.HomeNode(nodes, pinned)
	if err != nil {
		return 0, err
	}
	report.HomeNode, report.HomeReason = home, string(why)
	return home, nil
}

// checkNode refuses a node that does not exist or that the target may not
// have memory on.
func (a *Agent) checkNode(node int) error {
	if !a.machine.HasNode(node) {
		return fmt.Errorf("%w: node %d does not exist, nodes here: %v", ErrUsage, node, a.nodes())
	}
	if !a.process.AllowedNodes.Contains(node) {
		return fmt.Errorf("%w: the target may not have memory on node %d, its cpuset allows nodes %v (cpuset.cpus and cpuset.mems are set where its container or service is)",
			ErrUsage, node, a.process.AllowedNodes)
	}
	return nil
}

// sample reads the target's heat from the source asked for.
func (a *Agent) sample(ctx context.Context, pageShift uint8) (*sampler.Sample, error) {
	ks, err := keyspace.Attach(ctx, a.target.PID, a.target.Info.Server, a.target.Info.Version)
	if err != nil {
		return nil, keyspaceError(err)
	}
	if a.cfg.Source == SourceFreq {
		freq := &sampler.Freq{Client: a.target.Client, Keyspace: ks, Estimator: a.estimator(), PageShift: pageShift, MaxShare: a.cfg.MaxRedisShare}
		s, err := freq.Sample(ctx, a.target.Info.Databases)
		return s, freqError(err)
	}
	memory := &sampler.Memory{Keyspace: ks, Estimator: a.estimator(), PageShift: pageShift}
	s, err := memory.Sample(ctx)
	return s, keyspaceError(err)
}

// estimator turns the target's access statistics into rates.
func (a *Agent) estimator() sampler.Estimator {
	info := a.target.Info
	return sampler.Estimator{LFU: info.LFU(), LogFactor: a.cfg.LogFactor, Decay: a.cfg.Decay, Age: info.Uptime, Now: time.Now()}
}

// freqError tells what failed in the server's memory from what failed on the
// connection.
func freqError(err error) error {
	for _, known := range []error{nil, fs.ErrPermission, keyspace.ErrProcessGone, keyspace.ErrUnsupportedLayout} {
		if errors.Is(err, known) {
			return keyspaceError(err)
		}
	}
	return serverError("sampling", err)
}

func keyspaceError(err error) error {
	if errors.Is(err, keyspace.ErrProcessGone) || errors.Is(err, keyspace.ErrUnsupportedLayout) {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	return err
}

// pageShift is log2 of the kernel's page size.
func pageShift() uint8 { return uint8(bits.TrailingZeros(uint(os.Getpagesize()))) }

func (a *Agent) bytesByNode() (map[int]uint64, error) {
	maps, err := a.sys.NumaMaps(a.target.PID)
	if err != nil {
		return nil, processError(fmt.Sprintf("reading where the memory of pid %d lies", a.target.PID), err)
	}
	resident := topology.BytesByNode(maps)
	for _, n := range a.machine.Nodes {
		resident[n.ID] += 0 // every node has its line, also an empty one
	}
	return resident, nil
}

// locateBatch is how many pages are asked for at a time.
const locateBatch = 1 << 16

// pages asks the kernel where the pages with heat lie.
func (a *Agent) pages(heat *sampler.PageHeat, shift uint8) ([]policy.Page, error) {
	var pages []policy.Page
	addrs, nodes := make([]uint64, 0, locateBatch), make([]int32, locateBatch)
	locate := func() error {
		if err := topology.PageNodes(a.target.PID, addrs, nodes[:len(addrs)]); err != nil {
			return processError("asking where pages lie", err)
		}
		for i := range addrs {
			pages[len(pages)-len(addrs)+i].Node = int16(nodes[i])
		}
		addrs = addrs[:0]
		return nil
	}
	for addr, h := range heat.Pages() {
		pages = append(pages, policy.Page{Addr: addr, Heat: h, Shift: shift})
		if addrs = append(addrs, addr); len(addrs) == locateBatch {
			if err := locate(); err != nil {
				return nil, err
			}
		}
	}
	return pages, locate()
}

// nodeMemory is what a plan may fill.
func (a *Agent) nodeMemory() []policy.NodeMemory {
	nodes := make([]policy.NodeMemory, len(a.machine.Nodes))
	for i, n := range a.machine.Nodes {
		nodes[i] = policy.NodeMemory{ID: n.ID, FreeBytes: n.MemFreeBytes, ReserveBytes: policy.ReserveBytes(n.MemTotalBytes)}
	}
	return nodes
}

// placement measures where the memory and the sampled heat lie now.
func (a *Agent) placement(ctx context.Context, s *state) (*Placement, error) {
	resident, err := a.bytesByNode()
	if err != nil {
		return nil, err
	}
	pages, err := a.pages(s.sample.Heat, pageShift())
	if err != nil {
		return nil, err
	}
	placement := &Placement{BytesByNode: resident}
	local, total := 0.0, 0.0
	for _, p := range pages {
		total += float64(p.Heat)
		if int(p.Node) == s.home {
			local += float64(p.Heat)
		}
	}
	if total > 0 {
		placement.LocalHeatShare = local / total
	}
	return placement, ctx.Err()
}

// How long a fork child is waited for.
const (
	childWait = time.Minute
	childPoll = 500 * time.Millisecond
)

// waitForChild waits until no child of the server (BGSAVE, AOF rewrite)
// shares its pages: while one does, a move would have to move its pages too.
func (a *Agent) waitForChild(ctx context.Context) error {
	for deadline := time.Now().Add(childWait); ; {
		info, err := a.target.ReadInfo(ctx)
		if err != nil {
			return err
		}
		if !info.Child {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: a BGSAVE or AOF rewrite shares the server's pages for over %v: run again when it is done", ErrPartial, childWait)
		}
		a.log.Info("waiting for the server's child process to end")
		if err := sleep(ctx, childPoll); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// IsPermission reports whether err is a lack of permission.
func IsPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
