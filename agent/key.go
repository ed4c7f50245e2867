package agent

import (
	"context"
	"errors"
	"fmt"

	"numa-agent/keyspace"
	"numa-agent/sampler"
	"numa-agent/topology"
)

// KeyReport is what is known of one key: the output of the command key.
type KeyReport struct {
	Schema     string          `json:"schema"`
	DB         int             `json:"db"`
	Key        string          `json:"key"`
	Type       string          `json:"type"`
	Encoding   string          `json:"encoding"`
	Rate       float64         `json:"accesses_per_second"`
	Hotness    int             `json:"hotness"` // 0–7
	Layout     keyspace.Layout `json:"layout"`
	Incomplete bool            `json:"incomplete"` // the value changed while it was read
	Kinds      []KindReport    `json:"kinds"`
	// PagesByNode counts each page once. Pages that are not resident count
	// under node -1.
	PagesByNode map[int]int    `json:"pages_by_node"`
	Extents     []ExtentReport `json:"extents"` // the first 1000
	ExtentCount int            `json:"extent_count"`
}

// KeySchema is the name and version of the format of KeyReport.
const KeySchema = "numa-agent/key/v1"

// KindReport sums one kind of memory of a key.
type KindReport struct {
	Kind        string      `json:"kind"`
	Extents     int         `json:"extents"`
	Bytes       uint64      `json:"bytes"`
	PagesByNode map[int]int `json:"pages_by_node"`
}

// ExtentReport is one address range and the node its first page is on.
type ExtentReport struct {
	Kind  string `json:"kind"`
	Addr  string `json:"addr"`
	Bytes uint32 `json:"bytes"`
	Node  int    `json:"node"`
}

// maxReportedExtents bounds how many extents a report lists.
const maxReportedExtents = 1000

// maxKeyPages bounds how many pages of a key are located: 16 GiB of them.
const maxKeyPages = 1 << 22

// maxKeyExtents bounds how many extents are kept to be located.
const maxKeyExtents = 1 << 22

// Key looks one key up and says where its memory lies.
func (a *Agent) Key(ctx context.Context, db int, key string) (*KeyReport, error) {
	if err := a.identify(ctx); err != nil {
		return nil, err
	}
	ks, err := keyspace.Attach(ctx, a.target.PID, a.target.Info.Server, a.target.Info.Version)
	if err != nil {
		return nil, keyspaceError(err)
	}
	if n := ks.Layout().Databases; db < 0 || db >= n {
		return nil, fmt.Errorf("%w: database %d: the server has databases 0 to %d", ErrUsage, db, n-1)
	}
	estimator := a.estimator()
	r := &KeyReport{Schema: KeySchema, DB: db, Key: Printable(key), Layout: ks.Layout()}
	var extents []keyspace.Extent
	found := false
	_, err = ks.Lookup(ctx, db, []string{key}, func(e *keyspace.Entry) error {
		found = true
		r.Type, r.Encoding = e.Type.String(), e.Encoding.String()
		r.Rate = estimator.FromBits(e.HeatBits)
		r.Hotness = sampler.Hotness(r.Rate)
		r.Incomplete = r.Incomplete || e.Incomplete
		if len(extents)+len(e.Extents) > maxKeyExtents {
			return errTooManyExtents
		}
		extents = append(extents, e.Extents...)
		return nil
	})
	switch {
	case errors.Is(err, errTooManyExtents):
		r.Incomplete = true
	case err != nil:
		return nil, keyspaceError(fmt.Errorf("looking up key %q in database %d of pid %d: %w", key, db, a.target.PID, err))
	case !found:
		return nil, fmt.Errorf("%w: %q in database %d", ErrNoKey, key, db)
	}
	return r, a.locateExtents(r, extents)
}

// ErrNoKey is returned for a key that does not exist.
var ErrNoKey = errors.New("no such key")

var errTooManyExtents = errors.New("too many extents")

// locateExtents fills in where the extents of a key lie.
func (a *Agent) locateExtents(r *KeyReport, extents []keyspace.Extent) error {
	shift := pageShift()
	index := make(map[uint64]int) // page number → place in pages
	var pages []uint64
	for i, x := range extents {
		for p := x.Addr >> shift; p <= (x.Addr+uint64(x.Len)-1)>>shift; p++ {
			if _, known := index[p]; !known {
				index[p] = len(pages)
				pages = append(pages, p<<shift)
			}
		}
		if len(pages) > maxKeyPages {
			r.Incomplete, extents = true, extents[:i+1]
			break
		}
	}
	nodes := make([]int32, len(pages))
	if err := topology.PageNodes(a.target.PID, pages, nodes); err != nil {
		return processError("asking where pages lie", err)
	}
	nodeOf := func(page uint64) int { return int(max(nodes[index[page]], -1)) }

	r.PagesByNode, r.ExtentCount = make(map[int]int), len(extents)
	for p := range index {
		r.PagesByNode[nodeOf(p)]++
	}
	for _, x := range extents {
		if len(r.Extents) == maxReportedExtents {
			break
		}
		r.Extents = append(r.Extents, ExtentReport{Kind: x.Kind.String(), Addr: fmt.Sprintf("%#x", x.Addr), Bytes: x.Len, Node: nodeOf(x.Addr >> shift)})
	}
	for _, kind := range keyspace.Kinds() {
		k := KindReport{Kind: kind.String(), PagesByNode: make(map[int]int)}
		seen := make(map[uint64]bool)
		for _, x := range extents {
			if x.Kind != kind {
				continue
			}
			k.Extents++
			k.Bytes += uint64(x.Len)
			for p := x.Addr >> shift; p <= (x.Addr+uint64(x.Len)-1)>>shift; p++ {
				if !seen[p] {
					seen[p] = true
					k.PagesByNode[nodeOf(p)]++
				}
			}
		}
		if k.Extents > 0 {
			r.Kinds = append(r.Kinds, k)
		}
	}
	return nil
}
