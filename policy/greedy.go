package policy

import (
	"cmp"
	"math"
	"slices"
)

// Greedy plans to promote the hottest remote pages to the home node: those
// with the most heat per byte first, so that a 2 MiB page has to be worth 512
// small ones. It stays within the budget, within what is free on the home
// node beyond its reserve, and within the target's allowed nodes. A page that
// does not fit is passed over and a smaller one may still fit; a page without
// heat never moves.
//
// The order of the pages does not matter, save for the rounding of the shares,
// and s is not modified. For pages of one size no other choice of as many
// bytes makes more heat local; for mixed sizes the last bytes of a budget may
// be spent better.
func Greedy(s Snapshot) Plan {
	g := newGreedy(s)
	var ranges [buckets]struct {
		pages int
		bytes uint64
		heat  float64
	}
	movable := 0
	for _, p := range s.Pages {
		if p.Heat > 0 {
			g.totalHeat += float64(p.Heat)
			if int(p.Node) == g.home {
				g.localHeat += float64(p.Heat)
			}
		}
		if reason := g.stays(p); reason != "" {
			g.plan.Skipped[reason]++
			continue
		}
		movable++
		g.smallest = min(g.smallest, p.Size())
		r := &ranges[bucket(p)]
		r.pages++
		r.bytes += p.Size()
		r.heat += float64(p.Heat)
	}
	g.plan.ShareBefore = g.share()

	// A small budget is cheap because only the hot end is sorted that is sure
	// to use it up. The rest matters only if a page there did not fit, so that
	// smaller ones still may.
	end, pages, bytes, heat := 0, 0, uint64(0), g.localHeat
	for end < buckets && bytes < g.left && heat < g.until*g.totalHeat {
		pages += ranges[end].pages
		bytes += ranges[end].bytes
		heat += ranges[end].heat
		end++
	}
	g.add(g.between(s.Pages, 0, end, pages))
	if g.closed() == "" {
		g.add(g.between(s.Pages, end, buckets, movable-pages))
	} else {
		g.skip(g.closed(), movable-pages)
	}

	g.plan.Pages = len(g.plan.Moves)
	g.plan.ShareAfter = g.share()
	return g.plan
}

// greedy is a plan in the making and the limits left to it.
type greedy struct {
	home      int
	denied    bool    // the home node is not allowed
	until     float64 // local heat share at which to stop
	left      uint64  // bytes the plan may still move
	limit     Reason  // what sets that limit
	smallest  uint64  // size in bytes of the smallest movable page
	totalHeat float64 // of all pages
	localHeat float64 // of the pages on the home node and those planned to it
	plan      Plan
}

func newGreedy(s Snapshot) *greedy {
	g := &greedy{
		home:     s.Home,
		denied:   !s.AllowedNodes.Contains(s.Home),
		until:    math.Inf(1),
		left:     s.BudgetBytes,
		limit:    OverBudget,
		smallest: math.MaxUint64,
		plan:     Plan{Skipped: make(map[Reason]int)},
	}
	if room := s.room(s.Home); room < g.left {
		g.left, g.limit = room, HomeFull
	}
	if s.UntilShare > 0 {
		g.until = s.UntilShare
	}
	return g
}

// share is the local heat share that the plan so far leads to. The minimum
// takes off what rounding adds.
func (g *greedy) share() float64 {
	if g.totalHeat == 0 {
		return 0
	}
	return min(1, g.localHeat/g.totalHeat)
}

// stays returns why p stays whatever the limits are, or "" if it may move.
func (g *greedy) stays(p Page) Reason {
	switch {
	case p.Node < 0:
		return NotResident
	case int(p.Node) == g.home:
		return Local
	case !(p.Heat > 0): // so that NaN is cold
		return Cold
	case g.denied:
		return HomeDenied
	}
	return ""
}

// closed returns why no movable page can be added any more, or "".
func (g *greedy) closed() Reason {
	switch {
	case g.share() >= g.until:
		return ShareReached
	case g.smallest > g.left:
		return g.limit
	}
	return ""
}

// add plans the moves of pages, all of them movable, as far as the limits
// allow, densest first.
func (g *greedy) add(pages []Page) {
	slices.SortFunc(pages, func(p, q Page) int {
		if d, e := density(p), density(q); d != e {
			return cmp.Compare(e, d)
		}
		return cmp.Compare(p.Addr, q.Addr)
	})
	fit := min(uint64(len(pages)), g.left/g.smallest)
	g.plan.Moves = slices.Grow(g.plan.Moves, int(fit))
	for i, p := range pages {
		if reason := g.closed(); reason != "" {
			g.skip(reason, len(pages)-i)
			return
		}
		size := p.Size()
		if size > g.left {
			g.skip(g.limit, 1)
			continue
		}
		g.left -= size
		g.localHeat += float64(p.Heat)
		g.plan.Bytes += size
		g.plan.Moves = append(g.plan.Moves, Move{Page: p, To: int16(g.home), Reason: HotRemote})
	}
}

func (g *greedy) skip(reason Reason, pages int) {
	if pages > 0 {
		g.plan.Skipped[reason] += pages
	}
}

// between returns the n movable pages in the buckets from start to before end.
func (g *greedy) between(pages []Page, start, end, n int) []Page {
	found := make([]Page, 0, n)
	for _, p := range pages {
		if g.stays(p) == "" && start <= bucket(p) && bucket(p) < end {
			found = append(found, p)
		}
	}
	return found
}

// density is the heat of a page per byte.
func density(p Page) float32 { return p.Heat / float32(p.Size()) }

// Positive floats order as their bits do, so the upper bits, less the sign,
// divide densities into ranges: with 12 bits, 16 to each doubling.
const (
	bucketBits = 12
	buckets    = 1 << bucketBits
)

// bucket returns the range that the density of p is in, 0 for the hottest.
func bucket(p Page) int {
	return buckets - 1 - int(math.Float32bits(density(p))>>(31-bucketBits))
}
