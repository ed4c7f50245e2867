package sampler

import "time"

// Estimator turns the access statistics of a key into its access rate, in
// accesses per second.
//
// An LFU policy keeps a logarithmic counter c per key: it starts at 5, an
// access raises it with probability 1/(f·(c−5)+1), and every decay period
// lowers it by one (Redis 7.0.15 src/evict.c, LFULogIncr and
// LFUDecrAndReturn). Any other policy keeps the time of the last access.
type Estimator struct {
	LFU       bool          // whether the server's policy is one of the LFU policies
	LogFactor float64       // f: lfu-log-factor, ≥ 0
	Decay     time.Duration // lfu-decay-time; 0: counters never decay
	Age       time.Duration // how long the server is up: no key is older
	Now       time.Time     // when the statistics were read
}

// LFU defaults of a stock server (redis.conf).
const (
	DefaultLogFactor = 10
	DefaultDecay     = time.Minute
)

// initialCounter is the counter of a new key (LFU_INIT_VAL, src/server.h).
const initialCounter = 5

// settledPeriods is after how many decay periods counters say what they are
// worth: until then a key that was never read still has what is left of the
// initial counter.
const settledPeriods = 5

// FromCounter returns the rate for a decayed LFU counter, as OBJECT FREQ
// returns it.
//
// With x = c−5, the accesses it takes to climb to x are f·x(x−1)/2 + x
// (Morris 1978), made within the age of the server; and the accesses that
// hold a counter at x against decay are f·x+1 a period. A young server's
// counters have had the first to do, an old one's the second, so the rate is
// their sum, the second counted in as far as counters have settled.
func (e Estimator) FromCounter(counter uint8) float64 {
	settled, periods := 0.0, 0.0 // periods: decay periods a second
	if e.Decay > 0 {
		settled = min(1, e.Age.Seconds()/(settledPeriods*e.Decay.Seconds()))
		periods = 1 / e.Decay.Seconds()
	}
	x := float64(counter) - initialCounter
	if x < 0 {
		return settled * periods * float64(counter) / initialCounter
	}
	climb := e.LogFactor*x*(x-1)/2 + x
	return climb/max(1, e.Age.Seconds()) + settled*periods*(e.LogFactor*x+1)
}

// FromIdle returns the rate for the time since a key's last access, as OBJECT
// IDLETIME returns it: one access in that time, which is known to a second.
func (e Estimator) FromIdle(idle time.Duration) float64 {
	return 1 / (max(0, idle).Seconds() + 1)
}

// FromBits returns the rate for the 24 bits of an object header.
func (e Estimator) FromBits(bits uint32) float64 {
	if !e.LFU {
		// The LRU clock: seconds modulo 2^24 (src/evict.c, getLRUClock).
		return e.FromIdle(since(e.Now.Unix(), int64(bits), 1<<24, time.Second))
	}
	counter := float64(bits & 0xff)
	if e.Decay > 0 {
		// The time of the last access: minutes modulo 2^16.
		idle := since(e.Now.Unix()/60, int64(bits>>8), 1<<16, time.Minute)
		counter -= float64(idle / e.Decay)
	}
	return e.FromCounter(uint8(max(0, counter)))
}

// since returns the time from then to now, which are clocks that count units
// modulo wrap. Reading a large server takes a while: what was accessed
// meanwhile, after now, was accessed just now and not a whole wrap ago.
func since(now, then, wrap int64, unit time.Duration) time.Duration {
	elapsed := time.Duration((now-then)&(wrap-1)) * unit
	if ahead := time.Duration(wrap)*unit - elapsed; ahead <= longestReading {
		return 0
	}
	return elapsed
}

// longestReading is how long after Estimator.Now statistics may be read.
const longestReading = time.Hour
