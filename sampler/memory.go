package sampler

import (
	"context"
	"time"

	"numa-agent/keyspace"
)

// Memory samples by reading the server's memory; the server is sent nothing.
type Memory struct {
	Keyspace  *keyspace.Keyspace
	Estimator Estimator
	PageShift uint8 // log2 of the page size
}

// Sample walks the whole keyspace.
func (m *Memory) Sample(ctx context.Context) (*Sample, error) {
	start := time.Now()
	c := newCollector("memory", m.PageShift)
	stats, err := m.Keyspace.Walk(ctx, func(e *keyspace.Entry) error {
		c.add(e, m.Estimator.FromBits(e.HeatBits))
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.count(stats)
	return c.finish(start), nil
}
