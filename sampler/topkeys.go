package sampler

import (
	"cmp"
	"container/heap"
	"slices"

	"numa-agent/keyspace"
)

// topKeys keeps the hottest keys offered to it: a heap with the coldest of
// them on top.
type topKeys []KeyHeat

func (t *topKeys) offer(e *keyspace.Entry, rate float64) {
	full := len(*t) == hottestKeys
	if full && rate <= (*t)[0].Rate {
		return
	}
	// A key that is rehashed while the keyspace is read comes twice.
	if slices.ContainsFunc(*t, func(k KeyHeat) bool { return k.DB == e.DB && k.Key == string(e.Key) }) {
		return
	}
	if full {
		heap.Pop(t)
	}
	heap.Push(t, KeyHeat{DB: e.DB, Key: string(e.Key), Type: e.Type, Encoding: e.Encoding, Rate: rate})
}

// sorted empties the heap and returns its keys, hottest first.
func (t *topKeys) sorted() []KeyHeat {
	keys := []KeyHeat(*t)
	*t = nil
	slices.SortFunc(keys, func(a, b KeyHeat) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(a.DB, b.DB), cmp.Compare(a.Key, b.Key))
	})
	return keys
}

func (t topKeys) Len() int           { return len(t) }
func (t topKeys) Less(i, j int) bool { return t[i].Rate < t[j].Rate }
func (t topKeys) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *topKeys) Push(x any)        { *t = append(*t, x.(KeyHeat)) }
func (t *topKeys) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}
