package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"numa-agent/agent"
	"numa-agent/keyspace"
	"numa-agent/policy"
	"numa-agent/sampler"
	"numa-agent/topology"
)

// truth is where the traffic goes and where that memory lies: the generator's
// shares in place of estimated rates, on the five kinds of memory of every key,
// and the kernel's word on every page. Which memory is a key's is read as the
// agent reads it, which tests hold against the server's own word.
type truth struct {
	share       float64 // of the touches that are local
	bytesByNode map[int]uint64
	pages       []policy.Page // with their true heat
}

func measure(ctx context.Context, s *server, t *traffic, home int) (*truth, error) {
	ks, err := keyspace.Attach(ctx, s.pid(), "redis", "7.0.15")
	if err != nil {
		return nil, err
	}
	shares := t.shares()
	shift := uint8(bits.TrailingZeros(uint(os.Getpagesize())))
	heat := sampler.NewPageHeat(shift)
	found := 0
	if _, err := ks.Walk(ctx, func(e *keyspace.Entry) error {
		found++
		for _, x := range e.Extents {
			heat.Add(x.Addr, uint64(x.Len), shares[string(e.Key)]*sampler.Touches(e, x))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if found != len(shares) {
		return nil, fmt.Errorf("found %d keys of %d", found, len(shares))
	}
	m := &truth{}
	var addrs []uint64
	for addr, h := range heat.Pages() {
		addrs = append(addrs, addr)
		m.pages = append(m.pages, policy.Page{Addr: addr, Heat: h, Shift: shift})
	}
	nodes := make([]int32, len(addrs))
	if err := topology.PageNodes(s.pid(), addrs, nodes); err != nil {
		return nil, err
	}
	local, total := 0.0, 0.0
	for i := range m.pages {
		p := &m.pages[i]
		p.Node = int16(nodes[i])
		total += float64(p.Heat)
		if int(p.Node) == home {
			local += float64(p.Heat)
		}
	}
	m.share = local / total
	maps, err := topology.DefaultFS().NumaMaps(s.pid())
	if err != nil {
		return nil, err
	}
	m.bytesByNode = topology.BytesByNode(maps)
	return m, nil
}

// oracle is the share that the best choice of as many bytes would have made
// local.
func (m *truth) oracle(budget uint64) float64 {
	return policy.Greedy(policy.Snapshot{
		Home:         homeNode,
		AllowedNodes: topology.NewIDSet(homeNode, farNode),
		Nodes:        []policy.NodeMemory{{ID: homeNode, FreeBytes: budget}},
		Pages:        m.pages,
		BudgetBytes:  budget,
	}).ShareAfter
}

func show(r *agent.Report, before, after *truth, oracle float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	line := func(name string, b, a string) { fmt.Fprintf(w, "%s\t%s\t%s\n", name, b, a) }
	percent := func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
	line("", "BEFORE", "AFTER")
	for _, node := range []int{homeNode, farNode} {
		line(fmt.Sprintf("bytes on node %d", node), humanize.IBytes(before.bytesByNode[node]), humanize.IBytes(after.bytesByNode[node]))
	}
	line("local heat share, the agent's estimate", percent(r.Before.LocalHeatShare), percent(r.After.LocalHeatShare))
	line("local heat share, true", percent(before.share), percent(after.share))
	line("an oracle, with as many pages", "", percent(oracle))
	_ = w.Flush()
	fmt.Printf("\nmoved %d pages, %s: %s of the server's memory, in %.2f s, %d calls, the longest %.1f ms (emulated)\n",
		r.Result.MovedPages, humanize.IBytes(r.Result.MovedBytes), percent(moved(r)),
		r.Result.DurationSeconds, r.Result.Calls, r.Result.LongestCallSeconds*1e3)
	fmt.Printf("sampled %d keys in %.2f s from %s\n\n", r.Sample.Keys, r.Sample.DurationSeconds, r.Sample.Source)
}

// moved is the part of the server's memory that was moved.
func moved(r *agent.Report) float64 {
	resident := uint64(0)
	for _, bytes := range r.Before.BytesByNode {
		resident += bytes
	}
	return float64(r.Result.MovedBytes) / float64(resident)
}

// check holds the result against what the demo promises.
func check(r *agent.Report, after *truth) error {
	var errs []error
	if after.share < wantTrueShare {
		errs = append(errs, fmt.Errorf("true local share is %.3f, wanted %.2f", after.share, wantTrueShare))
	}
	if share := moved(r); share > wantPagesMoved {
		errs = append(errs, fmt.Errorf("moved %.3f of the server's pages, wanted at most %.2f", share, wantPagesMoved))
	}
	if gap := r.After.LocalHeatShare - after.share; gap > wantEstimateGap || gap < -wantEstimateGap {
		errs = append(errs, fmt.Errorf("the agent's estimate is %.3f off the true share, wanted at most %.2f", gap, wantEstimateGap))
	}
	return errors.Join(errs...)
}
