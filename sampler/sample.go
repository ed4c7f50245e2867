package sampler

import (
	"time"

	"numa-agent/keyspace"
)

// Sample is one reading of a server's heat.
type Sample struct {
	Source    string // "freq" or "memory"
	Keys      uint64 // keys whose heat is in Heat
	Vanished  uint64 // keys that were gone, or being changed, when their memory was looked for
	Heat      *PageHeat
	Hottest   []KeyHeat // hottest first
	Duration  time.Duration
	Anomalies map[keyspace.Anomaly]uint64
}

// KeyHeat is one key and its access rate.
type KeyHeat struct {
	DB       int
	Key      string
	Type     keyspace.Type
	Encoding keyspace.Encoding
	Rate     float64 // accesses per second
}

// hottestKeys is how many keys a sample names.
const hottestKeys = 20

// collector sums what visits of entries bring.
type collector struct {
	sample Sample
	top    topKeys
}

func newCollector(source string, pageShift uint8) *collector {
	return &collector{sample: Sample{Source: source, Heat: NewPageHeat(pageShift)}}
}

// add counts an entry that is accessed rate times a second.
func (c *collector) add(e *keyspace.Entry, rate float64) {
	if e.Part == 0 {
		c.sample.Keys++
		c.top.offer(e, rate)
	}
	for _, x := range e.Extents {
		c.sample.Heat.Add(x.Addr, uint64(x.Len), rate*Touches(e, x))
	}
}

// count adds what a walk or look-up met.
func (c *collector) count(s keyspace.Stats) {
	if c.sample.Anomalies == nil {
		c.sample.Anomalies = make(map[keyspace.Anomaly]uint64)
	}
	for a, n := range s.Anomalies {
		c.sample.Anomalies[a] += n
	}
}

func (c *collector) finish(start time.Time) *Sample {
	c.sample.Hottest = c.top.sorted()
	c.sample.Duration = time.Since(start)
	return &c.sample
}

// touchBytes is after how many bytes of a sequential read the processor's
// prefetcher stops: it does not cross 4 KiB, so the next byte is waited for
// again.
const touchBytes = 4096

// Touches returns how often one access to a key waits for the memory of an
// extent: once for its first line, which is only known from the extent before
// it, and once more for every further 4 KiB, as the lines between are
// prefetched. What a request picks one of (a field of a hash) shares its
// touches with its siblings. An embedded string lies next to its object
// header, which brought its line.
func Touches(e *keyspace.Entry, x keyspace.Extent) float64 {
	if e.Encoding == keyspace.EmbStr && x.Kind == keyspace.Value {
		return 0
	}
	return max(1, float64(x.Len)/touchBytes) / float64(x.Siblings)
}
