package sampler_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"numa-agent/internal/redistest"
	"numa-agent/keyspace"
	"numa-agent/sampler"
)

// fill loads two databases, reads some keys often, and returns the server.
func fill(t *testing.T, policy string) (*redistest.Server, *keyspace.Keyspace) {
	t.Helper()
	s := redistest.Start(t, "--maxmemory-policy", policy, "--activerehashing", "no")
	p := s.Pipeline()
	for i := range 2000 {
		p.Set(t.Context(), fmt.Sprintf("key:%d", i), strings.Repeat("v", 500), 0)
	}
	p.Select(t.Context(), 3)
	p.HSet(t.Context(), "hash", "field", "value")
	p.Select(t.Context(), 0)
	for range 3000 {
		p.Get(t.Context(), "key:7")
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Attach(t.Context(), s.PID, "redis", "7.0.15")
	if err != nil {
		t.Fatal(err)
	}
	return s, ks
}

// TestSourcesAgree samples the same server by memory and by commands.
func TestSourcesAgree(t *testing.T) {
	for _, policy := range []string{"allkeys-lfu", "noeviction"} {
		t.Run(policy, func(t *testing.T) {
			s, ks := fill(t, policy)
			estimator := sampler.Estimator{LFU: policy == "allkeys-lfu", LogFactor: 10, Decay: time.Minute, Age: time.Hour, Now: time.Now()}
			memory, err := (&sampler.Memory{Keyspace: ks, Estimator: estimator, PageShift: 12}).Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			freq, err := (&sampler.Freq{Client: s.Client, Keyspace: ks, Estimator: estimator, PageShift: 12, MaxShare: 0.5}).Sample(t.Context(), []int{0, 3})
			if err != nil {
				t.Fatal(err)
			}
			for _, sample := range []*sampler.Sample{memory, freq} {
				if sample.Keys != 2001 || sample.Vanished != 0 || len(sample.Anomalies) != 0 {
					t.Errorf("%s: %d keys, %d vanished, anomalies %v", sample.Source, sample.Keys, sample.Vanished, sample.Anomalies)
				}
			}
			if policy == "allkeys-lfu" {
				if a, b := memory.Heat.Total(), freq.Heat.Total(); math.Abs(a/b-1) > 0.05 {
					t.Errorf("heat by memory %v, by commands %v", a, b)
				}
				for _, sample := range []*sampler.Sample{memory, freq} {
					if sample.Hottest[0].Key != "key:7" {
						t.Errorf("%s: hottest is %q", sample.Source, sample.Hottest[0].Key)
					}
				}
			}
		})
	}
}

// TestFreqPace checks that sampling by commands leaves the server its time.
func TestFreqPace(t *testing.T) {
	s, ks := fill(t, "allkeys-lfu")
	estimator := sampler.Estimator{LFU: true, LogFactor: 10, Decay: time.Minute, Age: time.Hour, Now: time.Now()}
	before := commandTime(t, s)
	start := time.Now()
	freq := &sampler.Freq{Client: s.Client, Keyspace: ks, Estimator: estimator, PageShift: 12, MaxShare: 0.05}
	if _, err := freq.Sample(t.Context(), []int{0, 3}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if share := (commandTime(t, s) - before).Seconds() / took.Seconds(); share > 0.05 {
		t.Errorf("commands took %.1f %% of the server's time, wanted at most 5 %%", share*100)
	}
}

// commandTime is how long the server worked on SCAN and OBJECT FREQ so far.
func commandTime(t *testing.T, s *redistest.Server) (total time.Duration) {
	t.Helper()
	stats, err := s.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(stats) {
		name, rest, _ := strings.Cut(line, ":")
		if name != "cmdstat_scan" && name != "cmdstat_object|freq" {
			continue
		}
		var calls, usec int64
		if _, err := fmt.Sscanf(rest, "calls=%d,usec=%d", &calls, &usec); err != nil {
			t.Fatalf("commandstats line %q: %v", line, err)
		}
		total += time.Duration(usec) * time.Microsecond
	}
	return total
}
