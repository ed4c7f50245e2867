package policy

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"numa-agent/topology"
)

const (
	small = 4096
	large = 2 << 20
)

func TestGreedy(t *testing.T) {
	at := func(addr uint64, heat float32, node int16) Page {
		return Page{Addr: addr, Heat: heat, Node: node, Shift: 12}
	}
	base := Snapshot{
		Home:         0,
		AllowedNodes: topology.NewIDSet(0, 1),
		Nodes:        []NodeMemory{{ID: 1, FreeBytes: 1 << 30}, {ID: 0, FreeBytes: 20 * small, ReserveBytes: 4 * small}},
		Pages:        []Page{at(1, 10, 0), at(2, 5, 1), at(3, 20, 1), at(4, 5, 2), at(5, 0, 1), at(6, 0, 0), at(7, 10, -1)},
		BudgetBytes:  1 << 30,
	}
	with := func(change func(*Snapshot)) Snapshot {
		s := base
		s.Pages = slices.Clone(s.Pages)
		s.Nodes = slices.Clone(s.Nodes)
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name    string
		s       Snapshot
		moves   []uint64 // addresses
		after   float64
		skipped map[Reason]int
	}{
		{
			name:    "everything hot and remote",
			s:       base,
			moves:   []uint64{3, 2, 4},
			after:   0.8,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1},
		},
		{
			name:    "budget",
			s:       with(func(s *Snapshot) { s.BudgetBytes = 2*small + small - 1 }),
			moves:   []uint64{3, 2},
			after:   0.7,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, OverBudget: 1},
		},
		{
			name:    "no budget",
			s:       with(func(s *Snapshot) { s.BudgetBytes = 0 }),
			after:   0.2,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, OverBudget: 3},
		},
		{
			name:    "home node full",
			s:       with(func(s *Snapshot) { s.Nodes = []NodeMemory{{ID: 0, FreeBytes: 5*small - 1, ReserveBytes: 3 * small}} }),
			moves:   []uint64{3},
			after:   0.6,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, HomeFull: 2},
		},
		{
			name:    "home node below its reserve",
			s:       with(func(s *Snapshot) { s.Nodes = []NodeMemory{{ID: 0, FreeBytes: small, ReserveBytes: 3 * small}} }),
			after:   0.2,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, HomeFull: 3},
		},
		{
			name:    "home node not listed",
			s:       with(func(s *Snapshot) { s.Nodes = s.Nodes[:1] }),
			after:   0.2,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, HomeFull: 3},
		},
		{
			name:    "home node not allowed",
			s:       with(func(s *Snapshot) { s.AllowedNodes = topology.NewIDSet(1, 2) }),
			after:   0.2,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, HomeDenied: 3},
		},
		{
			name:    "share",
			s:       with(func(s *Snapshot) { s.UntilShare = 0.65 }),
			moves:   []uint64{3, 2},
			after:   0.7,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, ShareReached: 1},
		},
		{
			name:    "share reached from the start",
			s:       with(func(s *Snapshot) { s.UntilShare = 0.2 }),
			after:   0.2,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, ShareReached: 3},
		},
		{
			name: "heat per byte",
			// The large page has the most heat and the least for its size.
			s: with(func(s *Snapshot) {
				s.Pages[2] = Page{Addr: 3, Heat: 20, Node: 1, Shift: 21}
				s.Nodes[1].FreeBytes = 1 << 30
			}),
			moves:   []uint64{2, 4, 3},
			after:   0.8,
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1},
		},
		{
			name: "what does not fit is passed over",
			s: with(func(s *Snapshot) {
				s.Pages[2] = Page{Addr: 3, Heat: 20 * 512, Node: 1, Shift: 21}
				s.Pages[0].Heat = 10
				s.BudgetBytes = large - 1
			}),
			moves:   []uint64{2, 4},
			after:   20.0 / (20*512 + 30),
			skipped: map[Reason]int{Local: 2, Cold: 1, NotResident: 1, HomeFull: 1},
		},
		{
			name: "negative and NaN heat is cold",
			s: with(func(s *Snapshot) {
				s.Pages = []Page{at(1, -5, 1), at(2, float32(math.NaN()), 1), at(3, 1, 1), at(4, 1, 0)}
			}),
			moves:   []uint64{3},
			after:   1,
			skipped: map[Reason]int{Local: 1, Cold: 2},
		},
		{
			name:    "no heat at all",
			s:       with(func(s *Snapshot) { s.Pages = []Page{at(1, 0, 1), at(2, 0, 0)} }),
			skipped: map[Reason]int{Local: 1, Cold: 1},
		},
		{
			name:    "nothing",
			s:       Snapshot{},
			skipped: map[Reason]int{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := Greedy(tt.s)
			var moves []uint64
			for _, mv := range plan.Moves {
				moves = append(moves, mv.Addr)
				if mv.To != int16(tt.s.Home) || mv.Reason != HotRemote {
					t.Errorf("move %+v, want to node %d as %s", mv, tt.s.Home, HotRemote)
				}
			}
			if diff := cmp.Diff(tt.moves, moves); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.skipped, plan.Skipped); diff != "" {
				t.Errorf("Skipped (-want +got):\n%s", diff)
			}
			if math.Abs(plan.ShareAfter-tt.after) > 1e-12 {
				t.Errorf("ShareAfter = %v, want %v", plan.ShareAfter, tt.after)
			}
		})
	}
}

// randomSnapshot has up to n pages, with many ties in heat.
func randomSnapshot(random *rand.Rand, n int) Snapshot {
	s := Snapshot{
		Home:        random.IntN(3),
		BudgetBytes: random.Uint64N(uint64(n) * 2 * small),
		Pages:       make([]Page, random.IntN(n+1)),
	}
	var allowed []int
	for id := range 3 {
		if random.IntN(8) > 0 {
			allowed = append(allowed, id)
		}
		if random.IntN(16) > 0 {
			s.Nodes = append(s.Nodes, NodeMemory{
				ID:           id,
				FreeBytes:    random.Uint64N(uint64(n) * 2 * small),
				ReserveBytes: random.Uint64N(uint64(n) * small / 4),
			})
		}
	}
	s.AllowedNodes = topology.NewIDSet(allowed...)
	if random.IntN(2) == 0 {
		s.UntilShare = random.Float64()
	}
	largest := 1 + random.IntN(4)
	for i := range s.Pages {
		p := Page{Addr: uint64(i) << 21, Node: int16(random.IntN(4)) - 1, Shift: uint8(12 + random.IntN(largest))}
		switch random.IntN(4) {
		case 0:
			p.Heat = float32(random.IntN(4))
		case 1, 2:
			p.Heat = float32(random.ExpFloat64() * math.Exp(10*random.Float64()))
		}
		s.Pages[i] = p
	}
	return s
}

func localShare(pages []Page, isLocal func(Page) bool) float64 {
	var local, total float64
	for _, p := range pages {
		total += float64(p.Heat)
		if isLocal(p) {
			local += float64(p.Heat)
		}
	}
	if total == 0 {
		return 0
	}
	return local / total
}

func TestGreedyKeepsItsPromises(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := randomSnapshot(random, 200)
		before := slices.Clone(s.Pages)
		plan := Greedy(s)

		check := func(ok bool, format string, args ...any) {
			t.Helper()
			if !ok {
				t.Errorf("seed %d: %s", seed, fmt.Sprintf(format, args...))
			}
		}
		check(slices.Equal(s.Pages, before), "the snapshot was modified")

		moved := make(map[uint64]bool)
		var bytes uint64
		var heat float64
		for i, mv := range plan.Moves {
			check(!moved[mv.Addr], "page %#x moves twice", mv.Addr)
			moved[mv.Addr] = true
			check(mv.Page == s.Pages[mv.Addr>>21], "page %#x changed", mv.Addr)
			check(mv.Heat > 0 && mv.Node >= 0 && int(mv.Node) != s.Home, "page %+v moves", mv.Page)
			check(int(mv.To) == s.Home && s.AllowedNodes.Contains(s.Home), "move to node %d", mv.To)
			check(i == 0 || density(plan.Moves[i-1].Page) >= density(mv.Page), "move %d is denser than the one before", i)
			check(s.UntilShare == 0 || plan.ShareBefore+heat < s.UntilShare+1e-9, "move %d after the share was reached", i)
			bytes += mv.Size()
			heat += float64(mv.Heat) / max(totalHeat(s.Pages), 1e-30)
		}
		check(plan.Pages == len(plan.Moves) && plan.Bytes == bytes, "%d pages and %d bytes, counted %d and %d", plan.Pages, plan.Bytes, len(moved), bytes)
		check(bytes <= s.BudgetBytes, "%d bytes, budget %d", bytes, s.BudgetBytes)
		check(bytes <= s.room(s.Home), "%d bytes, room for %d", bytes, s.room(s.Home))
		check(plan.Skipped[ShareReached] == 0 || plan.ShareAfter >= s.UntilShare, "share %v said to reach %v", plan.ShareAfter, s.UntilShare)
		sum := plan.Pages
		for reason, n := range plan.Skipped {
			check(n > 0, "%d pages are %s", n, reason)
			sum += n
		}
		check(sum == len(s.Pages), "%d pages accounted for, %d given", sum, len(s.Pages))

		share := localShare(s.Pages, func(p Page) bool { return int(p.Node) == s.Home })
		check(math.Abs(plan.ShareBefore-share) < 1e-9, "ShareBefore %v, recomputed %v", plan.ShareBefore, share)
		share = localShare(s.Pages, func(p Page) bool { return int(p.Node) == s.Home || moved[p.Addr] })
		check(math.Abs(plan.ShareAfter-share) < 1e-9, "ShareAfter %v, recomputed %v", plan.ShareAfter, share)

		// What stays for want of room really does not fit.
		for _, p := range s.Pages {
			if !moved[p.Addr] && plan.Skipped[HomeDenied]+plan.Skipped[ShareReached] == 0 &&
				p.Heat > 0 && p.Node >= 0 && int(p.Node) != s.Home {
				check(bytes+p.Size() > min(s.BudgetBytes, s.room(s.Home)), "page %+v fits and stays", p)
			}
		}

		random.Shuffle(len(s.Pages), func(i, j int) { s.Pages[i], s.Pages[j] = s.Pages[j], s.Pages[i] })
		shuffled := Greedy(s)
		check(slices.Equal(shuffled.Moves, plan.Moves) && maps.Equal(shuffled.Skipped, plan.Skipped), "the plan depends on the order of the pages")
		if t.Failed() {
			return
		}
	}
}

func totalHeat(pages []Page) (heat float64) {
	for _, p := range pages {
		heat += float64(p.Heat)
	}
	return heat
}

// Against pages of one size picked at random within the same limits, and
// against the best of all choices where there are few enough to try.
func TestGreedyIsBestForOneSize(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := randomSnapshot(random, 12)
		s.UntilShare = 0
		for i := range s.Pages {
			s.Pages[i].Shift = 12
		}
		plan := Greedy(s)

		fits := int(min(s.BudgetBytes, s.room(s.Home)) / small)
		if !s.AllowedNodes.Contains(s.Home) {
			fits = 0
		}
		best := 0.0
		for choice := range 1 << len(s.Pages) {
			n := 0
			legal := true
			for i, p := range s.Pages {
				if choice>>i&1 == 1 {
					n++
					legal = legal && p.Node >= 0
				}
			}
			if legal && n <= fits {
				i := -1
				best = max(best, localShare(s.Pages, func(p Page) bool {
					i++
					return int(p.Node) == s.Home || choice>>i&1 == 1
				}))
			}
		}
		if math.Abs(plan.ShareAfter-best) > 1e-9 {
			t.Fatalf("seed %d: share %v, best is %v", seed, plan.ShareAfter, best)
		}
	}
}

// For pages of several sizes greedy is not the best choice, but it beats
// picking pages at random.
func TestGreedyBeatsChance(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := randomSnapshot(random, 400)
		s.UntilShare = 0
		for len(s.Pages) < 200 {
			s = randomSnapshot(random, 400)
			s.UntilShare = 0
		}
		plan := Greedy(s)

		chosen := make(map[uint64]bool)
		left := min(s.BudgetBytes, s.room(s.Home))
		if !s.AllowedNodes.Contains(s.Home) {
			left = 0
		}
		for _, i := range random.Perm(len(s.Pages)) {
			p := s.Pages[i]
			if p.Heat > 0 && p.Node >= 0 && int(p.Node) != s.Home && p.Size() <= left {
				left -= p.Size()
				chosen[p.Addr] = true
			}
		}
		share := localShare(s.Pages, func(p Page) bool { return int(p.Node) == s.Home || chosen[p.Addr] })
		if share > plan.ShareAfter+1e-9 {
			t.Errorf("seed %d: share %v, by chance %v", seed, plan.ShareAfter, share)
		}
	}
}

// BenchmarkGreedy plans for hot remote pages, the costliest: "all" sorts every
// one of them.
func BenchmarkGreedy(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000, 10_000_000} {
		random := rand.New(rand.NewPCG(1, 2))
		s := Snapshot{
			AllowedNodes: topology.NewIDSet(0),
			Nodes:        []NodeMemory{{ID: 0, FreeBytes: math.MaxUint64}},
			Pages:        make([]Page, n),
		}
		for i := range s.Pages {
			s.Pages[i] = Page{Addr: uint64(i) * small, Heat: float32(random.ExpFloat64()), Node: 1, Shift: 12}
		}
		for name, percent := range map[string]uint64{"1%": 1, "all": 100} {
			s.BudgetBytes = uint64(n) * small * percent / 100
			b.Run(fmt.Sprintf("pages=%d/budget=%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Greedy(s)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/page")
			})
		}
	}
}
