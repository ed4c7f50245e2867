package sampler

import (
	"iter"
	"maps"
	"slices"
)

// chunkPages is how many neighbouring pages share one array.
const chunkPages = 512

// PageHeat is the heat of pages: the estimated dependent touches per second
// of each. It takes 4 bytes a page in runs of 512.
type PageHeat struct {
	shift  uint8 // log2 of the page size
	chunks map[uint64]*[chunkPages]float32
	total  float64
}

// NewPageHeat returns an empty map of pages of 1<<shift bytes.
func NewPageHeat(shift uint8) *PageHeat {
	return &PageHeat{shift: shift, chunks: make(map[uint64]*[chunkPages]float32)}
}

// Add spreads heat over the pages that the n bytes at addr lie on, each
// according to its bytes.
func (h *PageHeat) Add(addr, n uint64, heat float64) {
	if n == 0 || heat <= 0 {
		return
	}
	h.total += heat
	size := uint64(1) << h.shift
	perByte := heat / float64(n)
	for n > 0 {
		page := addr >> h.shift
		here := min(n, size-addr&(size-1))
		chunk := h.chunks[page/chunkPages]
		if chunk == nil {
			chunk = new([chunkPages]float32)
			h.chunks[page/chunkPages] = chunk
		}
		chunk[page%chunkPages] += float32(perByte * float64(here))
		addr, n = addr+here, n-here
	}
}

// Total is all heat added, in touches per second.
func (h *PageHeat) Total() float64 { return h.total }

// Pages yields address and heat of every page that has any, by address.
func (h *PageHeat) Pages() iter.Seq2[uint64, float32] {
	return func(yield func(uint64, float32) bool) {
		for _, c := range slices.Sorted(maps.Keys(h.chunks)) {
			for i, heat := range h.chunks[c] {
				if heat > 0 && !yield((c*chunkPages+uint64(i))<<h.shift, heat) {
					return
				}
			}
		}
	}
}
