package sampler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"numa-agent/keyspace"
)

// Freq samples with SCAN and pipelined OBJECT FREQ, or OBJECT IDLETIME where
// the server's policy is not LFU. These cost the server's main thread about
// 2.5 µs a key, so they are paced.
type Freq struct {
	Client    *redis.Client
	Keyspace  *keyspace.Keyspace
	Estimator Estimator
	PageShift uint8 // log2 of the page size
	// MaxShare is the most of the server's time to take, above 0 and at most 1.
	MaxShare float64
}

// scanCount is how many keys one round trip asks for.
const scanCount = 512

// Sample scans the given databases.
func (f *Freq) Sample(ctx context.Context, dbs []int) (*Sample, error) {
	start := time.Now()
	c := newCollector("freq", f.PageShift)
	conn := f.Client.Conn() // SELECT belongs to a connection
	defer conn.Close()
	for _, db := range dbs {
		if err := f.scan(ctx, conn, db, c); err != nil {
			return nil, fmt.Errorf("sampling database %d: %w", db, err)
		}
	}
	return c.finish(start), nil
}

func (f *Freq) scan(ctx context.Context, conn *redis.Conn, db int, c *collector) error {
	// Always: the connection may come from another use.
	if err := conn.Select(ctx, db).Err(); err != nil {
		return fmt.Errorf("SELECT %d: %w", db, err)
	}
	for cursor := uint64(0); ; {
		began := time.Now()
		keys, next, err := conn.Scan(ctx, cursor, "", scanCount).Result()
		if err != nil {
			return fmt.Errorf("SCAN: %w", err)
		}
		rates, err := f.rates(ctx, conn, keys)
		if err != nil {
			return err
		}
		busy := time.Since(began)
		if err := f.resolve(ctx, db, rates, c); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
		if err := rest(ctx, busy, time.Since(began), f.MaxShare); err != nil {
			return err
		}
	}
}

// rates asks for the access statistics of keys. Keys that are gone by now
// have no rate.
func (f *Freq) rates(ctx context.Context, conn *redis.Conn, keys []string) (map[string]float64, error) {
	pipe := conn.Pipeline()
	cmds := make([]redis.Cmder, len(keys))
	for i, key := range keys {
		if f.Estimator.LFU {
			cmds[i] = pipe.ObjectFreq(ctx, key)
		} else {
			cmds[i] = pipe.ObjectIdleTime(ctx, key)
		}
	}
	// Errors are looked for command by command: one vanished key is not an
	// error of the others.
	_, _ = pipe.Exec(ctx)
	rates := make(map[string]float64, len(keys))
	for i, cmd := range cmds {
		err := cmd.Err()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil && strings.Contains(err.Error(), "LFU"):
			return nil, fmt.Errorf("%s: the server's maxmemory-policy changed meanwhile: run again: %w", cmd.Name(), err)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", cmd.Name(), err)
		}
		switch cmd := cmd.(type) {
		case *redis.IntCmd:
			rates[keys[i]] = f.Estimator.FromCounter(uint8(min(max(cmd.Val(), 0), 255)))
		case *redis.DurationCmd:
			rates[keys[i]] = f.Estimator.FromIdle(cmd.Val())
		}
	}
	return rates, nil
}

// resolve looks the keys up in the server's memory and counts their heat.
func (f *Freq) resolve(ctx context.Context, db int, rates map[string]float64, c *collector) error {
	names := make([]string, 0, len(rates))
	for key := range rates {
		names = append(names, key)
	}
	stats, err := f.Keyspace.Lookup(ctx, db, names, func(e *keyspace.Entry) error {
		c.add(e, rates[string(e.Key)])
		return nil
	})
	if err != nil {
		return err
	}
	c.count(stats)
	c.sample.Vanished += uint64(len(names)) - stats.Entries
	return nil
}

// rest waits until busy is no more than share of the time since elapsed ago.
func rest(ctx context.Context, busy, elapsed time.Duration, share float64) error {
	timer := time.NewTimer(time.Duration(float64(busy)/share) - elapsed)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
