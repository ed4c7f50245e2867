package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"numa-agent/agent"
)

func (c *cli) planCommand() *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what rebalance would move and why; move nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withAgent(cmd, func(a *agent.Agent) error {
				report, err := a.Plan(cmd.Context())
				if err != nil {
					return err
				}
				if err := c.printReport(report); err != nil {
					return err
				}
				if exitCode && report.Plan != nil && report.Plan.Pages > 0 {
					return errPending
				}
				return nil
			})
		},
	}
	c.cycleFlags(cmd.Flags())
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 6 when there are pages to move")
	return cmd
}

// printReport writes the report of plan or rebalance.
func (c *cli) printReport(r *agent.Report) error {
	if c.output == "json" {
		r.Complete()
	}
	return c.print(r, func(t *tables) { reportTables(t, r) })
}

func reportTables(t *tables, r *agent.Report) {
	t.row("target", fmt.Sprintf("%s %s, pid %d", r.Target.Server, r.Target.Version, r.Target.PID))
	t.row("home node", fmt.Sprintf("%d (%s)", r.Target.HomeNode, r.Target.HomeReason))
	if s := r.Sample; s != nil {
		t.row("sampled", fmt.Sprintf("%d keys on %d pages in %.2f s, from %s (%s)", s.Keys, s.HotPages, s.DurationSeconds, s.Source, s.Policy))
	}
	if p := r.Plan; p != nil {
		t.row("plan", fmt.Sprintf("%d pages, %s of a budget of %s", p.Pages, size(p.Bytes), size(p.BudgetBytes)))
		t.row("not planned", counts(p.Skipped))
	}
	if res := r.Result; res != nil {
		t.row("moved", fmt.Sprintf("%d pages, %s in %.2f s, %d calls, longest %.2f ms",
			res.MovedPages, size(res.MovedBytes), res.DurationSeconds, res.Calls, res.LongestCallSeconds*1e3))
		t.row("not moved", counts(res.FailedPages))
	}
	if r.Plan != nil {
		t.gap()
		placementTable(t, r)
	}
	if r.DryRun && r.Sample != nil && len(r.Sample.Hottest) > 0 {
		t.gap()
		t.row("HOTTEST KEYS", "DB", "TYPE", "ENCODING", "ACCESSES/S", "HOTNESS")
		for _, k := range r.Sample.Hottest {
			t.row(k.Key, k.DB, k.Type, k.Encoding, fmt.Sprintf("%.2f", k.Rate), k.Hotness)
		}
	}
	for _, note := range r.Notes {
		t.gap()
		t.row(note)
	}
}

// placementTable compares before with after, or with what the plan would
// lead to.
func placementTable(t *tables, r *agent.Report) {
	if r.After == nil {
		t.row("", "NOW", "PLANNED")
		for _, n := range sortedNodes(r.Before) {
			t.row(fmt.Sprintf("node %d", n), size(r.Before.BytesByNode[n]), "")
		}
		t.row("local heat share", percent(r.Before.LocalHeatShare), percent(r.Plan.LocalHeatShare))
		return
	}
	t.row("", "BEFORE", "AFTER")
	for _, n := range sortedNodes(r.Before) {
		t.row(fmt.Sprintf("node %d", n), size(r.Before.BytesByNode[n]), size(r.After.BytesByNode[n]))
	}
	t.row("local heat share", percent(r.Before.LocalHeatShare), percent(r.After.LocalHeatShare))
}
