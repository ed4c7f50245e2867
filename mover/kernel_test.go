package mover

import (
	"math/rand/v2"
	"slices"

	"numa-agent/internal/linux"
)

// fakePage is one page of the fake kernel's only process.
type fakePage struct {
	node     int32
	want     int32 // only node it may be moved to
	errno    int32 // permanent status, negative: the page is not there, shared, …
	busy     int   // how many times isolating it still fails with EBUSY
	pinned   int   // how many times migrating it still fails without an errno
	fleeting bool  // it is unmapped while the kernel migrates it
}

// fakeKernel behaves as do_pages_move of mm/migrate.c does: it gathers pages
// until one does not qualify, migrates what it has, stores statuses only for
// what migrated whole, and gives up on the rest of the call otherwise.
type fakeKernel struct {
	pages  map[uint64]*fakePage
	room   map[int32]int // pages that still fit; a node not listed does not exist
	denied map[int32]bool

	stale  bool // a call that gives up leaves old statuses, here success, behind
	dirty  bool // a call came with statuses that were not StatusUnset
	misled int  // pages moved to a node they should not be on

	flags   map[int]int // calls by flags
	moves   int         // calls that move
	asks    int         // calls that ask
	largest int         // most pages in one call

	fail   func(move bool) error // runs first; its errno is that of a call that does nothing
	random *rand.Rand            // if set, counts and statuses are not to be relied on
}

func (k *fakeKernel) MovePages(_ int, pages []uint64, nodes, status []int32, flags int) (int, error) {
	if k.flags == nil {
		k.flags = make(map[int]int)
	}
	k.flags[flags]++
	k.dirty = k.dirty || slices.ContainsFunc(status, func(st int32) bool { return st != linux.StatusUnset })
	k.largest = max(k.largest, len(pages))
	if nodes == nil {
		k.asks++
	} else {
		k.moves++
	}
	if k.fail != nil {
		if err := k.fail(nodes != nil); err != nil {
			return 0, err
		}
	}
	if nodes == nil {
		for i, addr := range pages {
			status[i] = k.where(addr)
		}
		return 0, nil
	}
	left, err := k.move(pages, nodes, status)
	if k.stale && (left > 0 || err != nil) {
		for i, st := range status {
			if st == linux.StatusUnset {
				status[i] = nodes[i]
			}
		}
	}
	if k.random != nil && err == nil && left == 0 {
		switch k.random.IntN(6) {
		case 0:
			left = 1 + k.random.IntN(len(pages))
		case 1:
			for i := k.random.IntN(len(pages)); i < len(pages); i++ {
				status[i] = linux.StatusUnset
			}
		}
	}
	return left, err
}

func (k *fakeKernel) where(addr uint64) int32 {
	p, ok := k.pages[addr]
	if !ok {
		return -int32(linux.EFAULT)
	}
	if p.errno == -int32(linux.ENOENT) || p.errno == -int32(linux.EFAULT) {
		return p.errno
	}
	return p.node
}

func (k *fakeKernel) move(pages []uint64, nodes, status []int32) (int, error) {
	start := 0
	var gathered []*fakePage
	flush := func(end int) (int, error) {
		left, err := k.migrate(gathered, nodes[start])
		gathered = gathered[:0]
		if err != nil {
			return 0, err
		}
		if left > 0 {
			return left + len(pages) - end, nil
		}
		for i := start; i < end; i++ {
			status[i] = nodes[start]
		}
		return 0, nil
	}
	for i, addr := range pages {
		to := nodes[i]
		if _, ok := k.room[to]; !ok {
			return 0, linux.ENODEV
		}
		if k.denied[to] {
			return 0, linux.EACCES
		}
		p, ok := k.pages[addr]
		var st int32
		switch {
		case !ok:
			st = -int32(linux.EFAULT)
		case p.errno != 0:
			st = p.errno
		case p.node == to:
			st = to
		case p.busy > 0:
			p.busy--
			st = -int32(linux.EBUSY)
		default:
			gathered = append(gathered, p)
			continue
		}
		status[i] = st
		if len(gathered) > 0 {
			if left, err := flush(i); left > 0 || err != nil {
				return left, err
			}
		}
		start = i + 1
	}
	if len(gathered) > 0 {
		return flush(len(pages))
	}
	return 0, nil
}

// migrate moves pages to a node and returns how many it could not.
func (k *fakeKernel) migrate(pages []*fakePage, to int32) (left int, err error) {
	for _, p := range pages {
		switch {
		case k.room[to] == 0:
			return 0, linux.ENOMEM
		case p.fleeting:
			p.errno = -int32(linux.ENOENT)
			left++
		case p.pinned > 0:
			p.pinned--
			left++
		default:
			k.room[to]--
			p.node = to
			if p.want != to {
				k.misled++
			}
		}
	}
	return left, nil
}
