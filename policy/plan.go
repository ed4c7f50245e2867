package policy

// Reason says why a page moves, or why it does not.
type Reason string

// Why a page moves.
const (
	HotRemote Reason = "hot-remote" // it has heat and lies off the home node
)

// Why a page stays. Each page that stays has the first of these that holds.
const (
	NotResident  Reason = "not-resident"          // its node is unknown
	Local        Reason = "local"                 // it lies on the home node
	Cold         Reason = "cold"                  // it has no heat
	HomeDenied   Reason = "home-node-not-allowed" // the target may not have memory on the home node
	ShareReached Reason = "share-reached"         // the moves before it reach Snapshot.UntilShare
	HomeFull     Reason = "home-node-full"        // it does not fit: the node has less room than the budget allows
	OverBudget   Reason = "over-budget"           // it does not fit what is left of the budget
)

// Move is one page and where it should go.
type Move struct {
	Page
	To     int16
	Reason Reason
}

// Plan is what to move and what that leads to. A heat share is the part of
// the heat of all pages that lies on the home node, from 0 to 1; without any
// heat it is 0.
type Plan struct {
	Moves       []Move // most heat per byte first
	Pages       int    // len(Moves)
	Bytes       uint64 // sum of the sizes of Moves
	ShareBefore float64
	ShareAfter  float64        // once every move has been made
	Skipped     map[Reason]int // pages that stay, by reason; never a zero count
}
