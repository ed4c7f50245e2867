package agent

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"numa-agent/internal/linux"
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
	resident, err := a.bytesByNode()
	if err != nil {
		return report, nil, err
	}
	if len(a.machine.Nodes) == 1 {
		report.Before = &Placement{BytesByNode: resident, LocalHeatShare: 1}
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
