package mover

import "time"

// NotAttempted is the name in Result.Failed of pages that were never submitted
// because the run ended early or their node had run out of memory.
const NotAttempted = "not-attempted"

// Result is what became of the pages of a run. Each is counted once:
// Submitted = MovedPages + AlreadyThere + the sum of Failed.
type Result struct {
	Submitted    int    // pages given to Run
	MovedPages   int    // pages submitted to the kernel and then on their target
	MovedBytes   uint64 // of those, by their sizes as planned
	AlreadyThere int    // pages found on their target, so not submitted

	// Failed counts the other pages by the name of the kernel's last errno for
	// them, or NotAttempted. EBUSY includes the pages that the kernel left
	// where they were without an errno of their own, as it does when it
	// isolated a page and then could not migrate it.
	Failed map[string]int

	Retried     int           // submissions of pages that were busy before, every retry counted
	Calls       int           // of move_pages that submitted pages; those that only ask are not counted
	LongestCall time.Duration // of those; the longest the target may have waited for a page

	// Where the kernel found the pages of Run at the end. Both are zero for a
	// run that ended early, otherwise their sum is Submitted.
	OnTarget, OffTarget int

	Duration time.Duration // of the whole run
}

// Progress is how far a run is.
type Progress struct {
	Done, Total int    // pages; those done are moved, found in place, or given up
	MovedPages  int    // of those done
	MovedBytes  uint64 // of those done
}
