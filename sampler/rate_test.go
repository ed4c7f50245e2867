package sampler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// counter simulates a server's LFU counter under Poisson accesses
// (Redis 7.0.15 src/evict.c, LFULogIncr and LFUDecrAndReturn) and returns it
// decayed, as OBJECT FREQ does.
func counter(rng *rand.Rand, rate, factor float64, decay, age time.Duration) uint8 {
	c, lastPeriod := initialCounter, 0
	for at := rng.ExpFloat64() / rate; at < age.Seconds(); at += rng.ExpFloat64() / rate {
		period := int(at / decay.Seconds())
		c = max(0, c-(period-lastPeriod))
		lastPeriod = period
		if base := max(0, c-initialCounter); c < 255 && rng.Float64() < 1/(float64(base)*factor+1) {
			c++
		}
	}
	return uint8(max(0, c-(int(age.Seconds()/decay.Seconds())-lastPeriod)))
}

// TestFromCounterBias checks that the mean estimate is within a factor of two
// of the true rate of simulated keys, in servers young and old. A plan needs
// the order of rates and their rough size.
func TestFromCounterBias(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, age := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour} {
		for _, rate := range []float64{0.5, 2, 20} {
			e := Estimator{LFU: true, LogFactor: DefaultLogFactor, Decay: DefaultDecay, Age: age}
			const keys = 200
			sum := 0.0
			for range keys {
				sum += e.FromCounter(counter(rng, rate, e.LogFactor, e.Decay, age))
			}
			if got := sum / keys / rate; got < 0.5 || got > 2 {
				t.Errorf("after %v at %v accesses/s the mean estimate is %.2f of the truth", age, rate, got)
			}
		}
	}
}

func TestFromCounterMonotonic(t *testing.T) {
	for _, e := range []Estimator{
		{LogFactor: 10, Decay: time.Minute, Age: time.Second},
		{LogFactor: 10, Decay: time.Minute, Age: 1000 * time.Hour},
		{LogFactor: 0, Decay: time.Minute, Age: time.Hour},
		{LogFactor: 100, Decay: 0, Age: time.Hour},
		{LogFactor: 10, Decay: time.Minute, Age: 0},
	} {
		last := -1.0
		for c := range 256 {
			rate := e.FromCounter(uint8(c))
			if rate < last || rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
				t.Fatalf("%+v: counter %d gives %v after %v", e, c, rate, last)
			}
			last = rate
		}
	}
}

func TestFromBits(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	minute := uint32(now.Unix()/60) & 0xffff
	lfu := Estimator{LFU: true, LogFactor: 10, Decay: time.Minute, Age: time.Hour, Now: now}
	if got, want := lfu.FromBits(minute<<8|100), lfu.FromCounter(100); got != want {
		t.Errorf("just read: %v, want %v", got, want)
	}
	if got, want := lfu.FromBits((minute-7)&0xffff<<8|100), lfu.FromCounter(93); got != want {
		t.Errorf("read 7 minutes ago: %v, want %v", got, want)
	}
	if got, want := lfu.FromBits((minute-1000)&0xffff<<8|100), lfu.FromCounter(0); got != want {
		t.Errorf("read long ago: %v, want %v", got, want)
	}
	// Accesses while the keyspace was being read.
	if got, want := lfu.FromBits((minute+1)&0xffff<<8|100), lfu.FromCounter(100); got != want {
		t.Errorf("read a minute after now: %v, want %v", got, want)
	}
	lru := Estimator{Now: now}
	if got := lru.FromBits((uint32(now.Unix()) + 30) & (1<<24 - 1)); got != 1 {
		t.Errorf("read 30 s after now: %v, want 1", got)
	}
	clock := uint32(now.Unix()) & (1<<24 - 1)
	if got, want := lru.FromBits((clock-9)&(1<<24-1)), 0.1; math.Abs(got-want) > 1e-9 {
		t.Errorf("idle for 9 s: %v, want %v", got, want)
	}
}

func TestHotness(t *testing.T) {
	for rate, want := range map[float64]int{0: 0, 0.0001: 0, 0.001: 1, 0.05: 2, 0.5: 3, 1: 4, 10: 5, 999: 6, 1e6: 7} {
		if got := Hotness(rate); got != want {
			t.Errorf("Hotness(%v) = %d, want %d", rate, got, want)
		}
	}
}
