package main

import (
	"github.com/spf13/cobra"

	"numa-agent/agent"
)

func (c *cli) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check everything a rebalance needs and name the fix for what is missing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := agent.Diagnose(cmd.Context(), c.cfg, c.sys)
			err := c.print(d, func(t *tables) {
				t.row("CHECK", "STATUS", "FOUND")
				for _, check := range d.Checks {
					t.row(check.Name, check.Status, check.Found)
					if check.Fix != "" {
						t.row("", "", "fix: "+check.Fix)
					}
				}
			})
			if err == nil && d.Err != nil {
				err = silentError{d.Err}
			}
			return err
		},
	}
}
