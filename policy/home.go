package policy

import (
	"errors"
	"fmt"

	"numa-agent/topology"
)

// HomeReason says what the choice of a home node rests on.
type HomeReason string

// What the choice of a home node rests on.
const (
	HomeAffinity HomeReason = "affinity" // the main thread may only run there
	HomeStable   HomeReason = "stable"   // it was there at every look
	HomeMajority HomeReason = "majority" // it was there at the last look and at most others
)

// ErrUnstableHome is that no node is the main thread's for long enough to move
// memory to.
var ErrUnstableHome = errors.New("main thread has no stable home node; pin the server to the CPUs of one node (taskset, CPUAffinity=, CPU manager) or pass --home-node")

// homeMajority is the part of all looks, in per cent, that has to agree.
const homeMajority = 80

// HomeNode returns the node that the target's main thread reads its memory
// from. looks are the nodes it was on at several moments, oldest first, -1
// where that was unknown; pinned are the nodes of the CPUs it may run on,
// empty if unknown.
//
// A thread confined to one node is at home there. Otherwise 80 % of the looks
// and the last one must agree. Not all of them: the scheduler lends an unpinned
// thread to another node for moments, and a server to which that happens
// would never be helped, while memory on the node it returns to is local
// four fifths of the time or more. The last one too: a thread that has just
// moved for good has its majority on the node it left. Looks that saw nothing
// count against a majority. Without one the error is ErrUnstableHome.
func HomeNode(looks []int, pinned topology.IDSet) (int, HomeReason, error) {
	if ids := pinned.IDs(); len(ids) == 1 {
		return ids[0], HomeAffinity, nil
	}
	if len(looks) == 0 {
		return -1, "", fmt.Errorf("finding the home node: the main thread was never looked at: %w", ErrUnstableHome)
	}
	last := looks[len(looks)-1]
	seen := 0
	for _, node := range looks {
		if node == last {
			seen++
		}
	}
	switch {
	case last < 0 || seen*100 < len(looks)*homeMajority:
		return -1, "", fmt.Errorf("finding the home node: the main thread was seen on nodes %v: %w", looks, ErrUnstableHome)
	case seen < len(looks):
		return last, HomeMajority, nil
	}
	return last, HomeStable, nil
}
