package agent

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"

	"numa-agent/policy"
	"numa-agent/sampler"
	"numa-agent/topology"
)

// pageShift is log2 of the kernel's page size.
func pageShift() uint8 { return uint8(bits.TrailingZeros(uint(os.Getpagesize()))) }

// bytesByNode asks the kernel where the target's memory lies.
func (a *Agent) bytesByNode() (map[int]uint64, error) {
	maps, err := a.sys.NumaMaps(a.target.PID)
	if errors.Is(err, topology.ErrNoNUMA) {
		return map[int]uint64{}, nil // one node, and no word on how much is on it
	}
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
