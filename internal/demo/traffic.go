package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strings"

	"github.com/redis/go-redis/v9"
)

// traffic reads keys with a Zipf distribution: the key of rank r is read in
// proportion to 1/r^skew. Ranks are scattered over the order of insertion, so
// that hot keys do not lie together.
type traffic struct {
	client     *redis.Client
	rng        *rand.Rand
	cumulative []float64 // of the shares, by rank; ends with 1
	byRank     []int     // number of the key of each rank
}

// pipelined is how many commands go together.
const pipelined = 1000

func newTraffic(c *redis.Client, keys int, skew float64) *traffic {
	t := &traffic{client: c, rng: rand.New(rand.NewPCG(1, 2)), cumulative: make([]float64, keys)}
	sum := 0.0
	for r := range t.cumulative {
		sum += math.Pow(float64(r+1), -skew)
		t.cumulative[r] = sum
	}
	for r := range t.cumulative {
		t.cumulative[r] /= sum
	}
	t.byRank = t.rng.Perm(keys)
	return t
}

func keyName(number int) string { return fmt.Sprintf("user:%08d", number) }

// shares returns how much of the traffic goes to each key: the truth.
func (t *traffic) shares() map[string]float64 {
	shares := make(map[string]float64, len(t.byRank))
	last := 0.0
	for r, c := range t.cumulative {
		shares[keyName(t.byRank[r])] = c - last
		last = c
	}
	return shares
}

// load writes all keys, in the order of their numbers.
func (t *traffic) load(ctx context.Context) error {
	value := strings.Repeat("v", valueSize)
	for first := 0; first < len(t.byRank); first += pipelined {
		pipe := t.client.Pipeline()
		for n := first; n < min(first+pipelined, len(t.byRank)); n++ {
			pipe.Set(ctx, keyName(n), value, 0)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// get reads n keys.
func (t *traffic) get(ctx context.Context, n int) error {
	for ; n > 0; n -= pipelined {
		pipe := t.client.Pipeline()
		for range min(n, pipelined) {
			rank := sort.SearchFloat64s(t.cumulative, t.rng.Float64())
			pipe.Get(ctx, keyName(t.byRank[min(rank, len(t.byRank)-1)]))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// getUntil reads until the context ends.
func (t *traffic) getUntil(ctx context.Context) error {
	for {
		if err := t.get(ctx, pipelined); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
}
