package keyspace

import (
	"context"
	"iter"
)

// reader is the state of one walk or look-up.
type reader struct {
	k     *Keyspace
	win   *window
	arena []byte // the keys of the entries at hand
	stats Stats
}

// resolve reads everything of the entries in the given buckets of a table
// whose keys accept takes, and visits them.
func (r *reader) resolve(ctx context.Context, db int, t table, buckets iter.Seq[uint64], accept func(*found) bool, visit func(*Entry) error) error {
	rest, err := r.chains(ctx, t, buckets)
	if err != nil {
		return err
	}
	inItsBucket := func(f *found) bool {
		if r.k.seed.hash(f.name)&(t.slots()-1) != f.bucket {
			r.stats.count(WrongBucket)
			return false
		}
		return accept(f)
	}
	for len(rest) > 0 {
		var entries []found
		if entries, rest, err = r.names(ctx, rest, inItsBucket); err != nil {
			return err
		}
		if entries, err = r.objects(ctx, entries); err != nil {
			return err
		}
		v := values{r: r, db: db, table: t, entries: entries, visit: visit}
		if err := v.run(ctx); err != nil {
			return err
		}
	}
	return nil
}
