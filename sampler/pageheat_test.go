package sampler

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"numa-agent/keyspace"
)

func collect(h *PageHeat) map[uint64]float32 {
	m := map[uint64]float32{}
	for addr, heat := range h.Pages() {
		m[addr] = heat
	}
	return m
}

func TestPageHeat(t *testing.T) {
	h := NewPageHeat(12)
	h.Add(0x1000, 64, 1)          // within a page
	h.Add(0x1fc0, 128, 2)         // half and half
	h.Add(0x200000-4096, 8192, 8) // across two chunks
	h.Add(0x5000, 0, 9)           // nothing
	h.Add(0x5000, 8, 0)           // cold
	want := map[uint64]float32{0x1000: 2, 0x2000: 1, 0x1ff000: 4, 0x200000: 4}
	if diff := cmp.Diff(want, collect(h)); diff != "" {
		t.Error(diff)
	}
	if h.Total() != 11 {
		t.Errorf("total %v, want 11", h.Total())
	}
}

// TestPageHeatSum: whatever is added, the pages hold all of it, in order.
func TestPageHeatSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	h := NewPageHeat(12)
	for range 10_000 {
		h.Add(rng.Uint64N(1<<32), rng.Uint64N(20_000), rng.Float64())
	}
	sum, last := 0.0, uint64(0)
	for addr, heat := range h.Pages() {
		if addr < last || addr%4096 != 0 {
			t.Fatalf("page %#x after %#x", addr, last)
		}
		sum, last = sum+float64(heat), addr
	}
	if math.Abs(sum/h.Total()-1) > 1e-3 {
		t.Errorf("pages hold %v of %v", sum, h.Total())
	}
}

func TestTouches(t *testing.T) {
	str := &keyspace.Entry{Type: keyspace.String, Encoding: keyspace.Raw}
	emb := &keyspace.Entry{Type: keyspace.String, Encoding: keyspace.EmbStr}
	for _, c := range []struct {
		name string
		e    *keyspace.Entry
		x    keyspace.Extent
		want float64
	}{
		{"small value", str, keyspace.Extent{Len: 100, Siblings: 1, Kind: keyspace.Value}, 1},
		{"value of ten pages", str, keyspace.Extent{Len: 40960, Siblings: 1, Kind: keyspace.Value}, 10},
		{"one field of four", str, keyspace.Extent{Len: 10, Siblings: 4, Kind: keyspace.Value}, 0.25},
		{"embedded value", emb, keyspace.Extent{Len: 10, Siblings: 1, Kind: keyspace.Value}, 0},
		{"its object", emb, keyspace.Extent{Len: 16, Siblings: 1, Kind: keyspace.Object}, 1},
	} {
		if got := Touches(c.e, c.x); got != c.want {
			t.Errorf("%s: %v touches, want %v", c.name, got, c.want)
		}
	}
}
