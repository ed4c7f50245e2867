package keyspace

import "strconv"

// Anomaly is a kind of thing read from the target that did not make sense:
// usually because the target changed it meanwhile.
type Anomaly uint8

// The kinds of anomalies.
const (
	Unreadable      Anomaly = iota // a page of the target could not be read
	BadEntryPointer                // an entry outside the target's data
	ChainTooLong                   // a bucket's chain that does not end
	BadKey                         // a key that is not a sound string
	KeyTooLong                     // a key too long to be read
	WrongBucket                    // a key that does not belong into its bucket
	BadObject                      // an object header that cannot be one
	BadValue                       // a value whose structure does not fit
	ValueTooLong                   // a value with more parts than it says
	TableChanged                   // a table that was replaced while it was read
	numAnomalies    = iota
)

var anomalyNames = [numAnomalies]string{"unreadable", "bad-entry-pointer", "chain-too-long", "bad-key",
	"key-too-long", "wrong-bucket", "bad-object", "bad-value", "value-too-long", "table-changed"}

func (a Anomaly) String() string {
	if int(a) < numAnomalies {
		return anomalyNames[a]
	}
	return "unknown(" + strconv.Itoa(int(a)) + ")"
}

// Stats is what a walk or look-up did.
type Stats struct {
	Entries   uint64             // visited, each counted once
	Pages     uint64             // pages of 4 KiB copied from the target
	Anomalies map[Anomaly]uint64 // what was met and left out
}

func (s *Stats) count(a Anomaly) { s.add(a, 1) }

func (s *Stats) add(a Anomaly, n int) {
	if s.Anomalies == nil {
		s.Anomalies = make(map[Anomaly]uint64)
	}
	s.Anomalies[a] += uint64(n)
}
