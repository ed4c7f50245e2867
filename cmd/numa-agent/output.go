package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// print writes value as JSON, or as the tables that table writes.
func (c *cli) print(value any, table func(*tables)) error {
	if c.output == "json" {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	t := &tables{w: tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)}
	table(t)
	return t.w.Flush() // tells of what failed in between too
}

// tables writes aligned columns.
type tables struct{ w *tabwriter.Writer }

// row writes one row.
func (t *tables) row(cells ...any) {
	text := make([]string, len(cells))
	for i, cell := range cells {
		text[i] = fmt.Sprint(cell)
	}
	fmt.Fprintln(t.w, strings.Join(text, "\t"))
}

// gap ends a table.
func (t *tables) gap() {
	_ = t.w.Flush()
	fmt.Fprintln(t.w)
}

// size writes bytes for people.
func size(bytes uint64) string { return humanize.IBytes(bytes) }

// percent writes a share.
func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + " %" }

// counts writes numbers by name, by name, leaving out zeros.
func counts[K ~string](m map[K]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
