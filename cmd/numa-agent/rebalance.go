package main

import (
	"io"
	"maps"
	"os"
	"slices"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"numa-agent/agent"
)

func (c *cli) rebalanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Bring the hottest pages home, once, and show before and after",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withAgent(cmd, func(a *agent.Agent) error {
				progress, done := progressOn(c.stderr)
				report, err := a.Rebalance(cmd.Context(), progress)
				done()
				// A partial result is a result: print it, then say what is wrong.
				if report != nil && report.Result != nil || err == nil {
					if printErr := c.printReport(report); printErr != nil && err == nil {
						err = printErr
					}
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	c.cycleFlags(f)
	f.IntVar(&c.cfg.Mover.BatchPages, "batch-pages", c.cfg.Mover.BatchPages, "most 4 KiB pages moved in one call; the server may wait for one call")
	f.DurationVar(&c.cfg.Mover.Pause, "pause", c.cfg.Mover.Pause, "rest between two calls")
	return cmd
}

// progressOn returns a progress bar when w is a terminal.
func progressOn(w io.Writer) (progress agent.Progress, done func()) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	return func(done, total int) {
			if bar == nil {
				bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("moving pages"),
					progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
			}
			// Drawing the bar is a courtesy; failing to is no reason to stop.
			_ = bar.Set(done)
		}, func() {
			if bar != nil {
				_ = bar.Finish()
			}
		}
}

func sortedNodes(p *agent.Placement) []int { return slices.Sorted(maps.Keys(p.BytesByNode)) }
