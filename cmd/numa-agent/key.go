package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"numa-agent/agent"
)

func (c *cli) keyCommand() *cobra.Command {
	var db int
	var escaped bool
	cmd := &cobra.Command{
		Use:   "key KEY",
		Short: "Show a key's type, encoding, heat, memory and the nodes it lies on",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes one key, got %d arguments", cmd.CommandPath(), len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key := args[0]
			if escaped {
				var err error
				if key, err = agent.ParsePrintable(key); err != nil {
					return err
				}
			}
			return c.withAgent(cmd, func(a *agent.Agent) error {
				report, err := a.Key(cmd.Context(), db, key)
				if err != nil {
					return err
				}
				return c.print(report, func(t *tables) { keyTables(t, report) })
			})
		},
	}
	cmd.Flags().IntVar(&db, "db", 0, "database of the key")
	cmd.Flags().BoolVar(&escaped, "escaped", false, `the key is written with escapes, as tables print it: \xNN, \" and \\`)
	c.heatFlags(cmd.Flags())
	return cmd
}

func keyTables(t *tables, r *agent.KeyReport) {
	t.row("key", r.Key)
	t.row("database", r.DB)
	t.row("type", r.Type)
	t.row("encoding", r.Encoding)
	t.row("heat", fmt.Sprintf("%.2f accesses/s", r.Rate))
	t.row("hotness", fmt.Sprintf("%d of 7", r.Hotness))
	t.row("layout", fmt.Sprintf("%s, proven on %d of %d entries", r.Layout.Family, r.Layout.Proven, r.Layout.Names))
	t.gap()
	t.row("MEMORY", "EXTENTS", "BYTES", "PAGES BY NODE")
	for _, k := range r.Kinds {
		t.row(k.Kind, k.Extents, k.Bytes, nodePages(k.PagesByNode))
	}
	t.row("all", r.ExtentCount, "", nodePages(r.PagesByNode))
	if r.Incomplete {
		t.gap()
		t.row("the value changed while it was read: some of its memory is missing here")
	}
}

// nodePages writes pages by node.
func nodePages(m map[int]int) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(m)) {
		name := fmt.Sprintf("node %d", n)
		if n < 0 {
			name = "not resident"
		}
		parts = append(parts, fmt.Sprintf("%s: %d", name, m[n]))
	}
	return strings.Join(parts, ", ")
}
