package redistest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// datasetEncodings are one key of every type in every encoding of Redis 7.0, and what
// OBJECT ENCODING says of it.
var datasetEncodings = map[string]string{
	"string:int": "int", "string:shared-int": "int", "string:embstr": "embstr", "string:raw": "raw", "string:big": "raw",
	"list:small": "quicklist", "list:nodes": "quicklist", "list:plain": "quicklist", "list:lzf": "quicklist",
	"set:intset": "intset", "set:hashtable": "hashtable",
	"zset:listpack": "listpack", "zset:skiplist": "skiplist",
	"hash:listpack": "listpack", "hash:hashtable": "hashtable",
	"stream:small": "stream", "stream:groups": "stream",
}

// DatasetArgs make small servers keep every encoding.
var DatasetArgs = []string{"--list-compress-depth", "1", "--enable-debug-command", "yes"}

// elements is how many elements the larger values of the dataset have.
const elements = 3000

// LoadDataset writes the dataset into the selected database and returns the
// encoding of every key in it.
func LoadDataset(ctx context.Context, tb testing.TB, c redis.Cmdable) map[string]string {
	tb.Helper()
	p := c.Pipeline()
	p.Set(ctx, "string:int", 123456789012, 0)
	p.Set(ctx, "string:shared-int", 42, 0)
	p.Set(ctx, "string:embstr", "short", 0)
	p.Set(ctx, "string:raw", strings.Repeat("r", 1000), 0)
	p.Set(ctx, "string:big", strings.Repeat("b", 300_000), 0)
	p.RPush(ctx, "list:small", "a", "b", "c")
	p.RPush(ctx, "list:plain", strings.Repeat("p", 20_000), "tail")
	p.SAdd(ctx, "set:intset", 1, 2, 70000)
	p.ZAdd(ctx, "zset:listpack", redis.Z{Score: 1, Member: "one"}, redis.Z{Score: 2.5, Member: "two"})
	p.HSet(ctx, "hash:listpack", "field", "value", "f2", 12)
	p.XAdd(ctx, &redis.XAddArgs{Stream: "stream:small", Values: []string{"k", "v"}})
	p.XGroupCreateMkStream(ctx, "stream:groups", "g1", "0")
	for i := range elements {
		p.RPush(ctx, "list:nodes", fmt.Sprintf("element-%d-%s", i, strings.Repeat("x", i%50)))
		p.RPush(ctx, "list:lzf", fmt.Sprintf("%d%s", i, strings.Repeat("compressible", 20)))
		p.SAdd(ctx, "set:hashtable", fmt.Sprintf("member-%d", i))
		p.ZAdd(ctx, "zset:skiplist", redis.Z{Score: float64(i), Member: fmt.Sprintf("member-%d", i)})
		p.HSet(ctx, "hash:hashtable", fmt.Sprintf("field-%d", i), strings.Repeat("v", i%200))
		p.XAdd(ctx, &redis.XAddArgs{Stream: "stream:groups", ID: fmt.Sprintf("%d-%d", i/7+1, i%7+1), Values: []string{"field", fmt.Sprint(i)}})
	}
	p.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g1", Consumer: "consumer", Streams: []string{"stream:groups", ">"}, Count: 500, Block: -1})
	if _, err := p.Exec(ctx); err != nil {
		tb.Fatalf("loading the dataset: %v", err)
	}
	return datasetEncodings
}

// Elements reads a key over the wire and returns all strings in it, sorted
// where the server keeps no order.
func Elements(ctx context.Context, tb testing.TB, c redis.Cmdable, key string) []string {
	tb.Helper()
	var all []string
	var err error
	switch typ := c.Type(ctx, key).Val(); typ {
	case "string":
		var s string
		s, err = c.Get(ctx, key).Result()
		all = []string{s}
	case "list":
		all, err = c.LRange(ctx, key, 0, -1).Result()
	case "set":
		all, err = c.SMembers(ctx, key).Result()
		slices.Sort(all)
	case "zset":
		all, err = c.ZRange(ctx, key, 0, -1).Result()
	case "hash":
		var fields map[string]string
		fields, err = c.HGetAll(ctx, key).Result()
		for _, f := range slices.Sorted(maps.Keys(fields)) {
			all = append(all, f, fields[f])
		}
	case "stream":
		var entries []redis.XMessage
		entries, err = c.XRange(ctx, key, "-", "+").Result()
		for _, e := range entries {
			for _, f := range slices.Sorted(maps.Keys(e.Values)) {
				all = append(all, f, fmt.Sprint(e.Values[f]))
			}
		}
	default:
		tb.Fatalf("key %q is of type %q", key, typ)
	}
	if err != nil {
		tb.Fatalf("reading key %q: %v", key, err)
	}
	return all
}
