package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"numa-agent/agent"
	"numa-agent/topology"
)

// topologyOutput is the output of topology.
type topologyOutput struct {
	Schema string        `json:"schema"`
	Nodes  []nodeOutput  `json:"nodes"`
	Target *targetOutput `json:"target,omitempty"`
}

type nodeOutput struct {
	ID            int            `json:"id"`
	CPUs          topology.IDSet `json:"cpus"`
	MemTotalBytes uint64         `json:"mem_total_bytes"`
	MemFreeBytes  uint64         `json:"mem_free_bytes"`
	Distances     map[int]int    `json:"distances"`
}

type targetOutput struct {
	PID          int            `json:"pid"`
	Server       string         `json:"server"`
	Version      string         `json:"version"`
	AllowedCPUs  topology.IDSet `json:"allowed_cpus"`
	AllowedNodes topology.IDSet `json:"allowed_nodes"`
	BytesByNode  map[int]uint64 `json:"bytes_by_node"`
	Threads      []threadOutput `json:"threads"`
}

type threadOutput struct {
	TID  int    `json:"tid"`
	Name string `json:"name"`
	CPU  int    `json:"cpu"`
	Node int    `json:"node"`
}

func (c *cli) topologyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "topology",
		Short: "Show nodes, distances, CPUs and memory; with a target its threads and bytes by node",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := c.topology(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(out, out.tables)
		},
	}
}

func (c *cli) topology(ctx context.Context) (*topologyOutput, error) {
	machine, err := c.sys.Machine()
	if err != nil {
		return nil, err
	}
	out := &topologyOutput{Schema: "numa-agent/topology/v1"}
	for _, n := range machine.Nodes {
		out.Nodes = append(out.Nodes, nodeOutput{ID: n.ID, CPUs: n.CPUs, MemTotalBytes: n.MemTotalBytes, MemFreeBytes: n.MemFreeBytes, Distances: n.Distances})
	}
	target, err := agent.Find(ctx, c.cfg, c.sys)
	named := c.cfg.Addr != "" || c.cfg.PID != 0
	if !named && errors.Is(err, agent.ErrTarget) {
		return out, nil // nobody asked for one
	}
	if err != nil {
		return nil, err
	}
	defer target.Close()
	maps, err := c.sys.NumaMaps(target.PID)
	if err != nil && !errors.Is(err, topology.ErrNoNUMA) {
		return nil, fmt.Errorf("finding where the server's memory lies: %w", err)
	}
	threads, err := c.sys.Threads(target.PID, machine)
	if err != nil {
		return nil, err
	}
	out.Target = &targetOutput{PID: target.PID, Server: target.Info.Server, Version: target.Info.Version,
		AllowedCPUs: target.AllowedCPUs, AllowedNodes: target.AllowedNodes, BytesByNode: topology.BytesByNode(maps)}
	for _, t := range threads {
		out.Target.Threads = append(out.Target.Threads, threadOutput{TID: t.TID, Name: t.Name, CPU: t.CPU, Node: t.Node})
	}
	return out, nil
}

func (o *topologyOutput) tables(t *tables) {
	header := []any{"NODE", "CPUS", "MEMORY", "FREE"}
	for _, n := range o.Nodes {
		header = append(header, "→"+strconv.Itoa(n.ID))
	}
	t.row(header...)
	for _, n := range o.Nodes {
		cpus := n.CPUs.String()
		if cpus == "" {
			cpus = "none"
		}
		row := []any{n.ID, cpus, size(n.MemTotalBytes), size(n.MemFreeBytes)}
		for _, to := range o.Nodes {
			row = append(row, n.Distances[to.ID])
		}
		t.row(row...)
	}
	if len(o.Nodes) == 1 {
		t.gap()
		t.row("one NUMA node: all memory is local, there is nothing to move")
	}
	if o.Target == nil {
		return
	}
	t.gap()
	t.row("TARGET", fmt.Sprintf("%s %s, pid %d", o.Target.Server, o.Target.Version, o.Target.PID))
	t.row("may run on CPUs", o.Target.AllowedCPUs)
	t.row("may use memory of nodes", o.Target.AllowedNodes)
	t.gap()
	t.row("NODE", "BYTES")
	for _, n := range o.Nodes {
		t.row(n.ID, size(o.Target.BytesByNode[n.ID]))
	}
	t.gap()
	t.row("THREAD", "NAME", "CPU", "NODE")
	for _, th := range o.Target.Threads {
		t.row(th.TID, th.Name, th.CPU, th.Node)
	}
}
