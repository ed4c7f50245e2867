package keyspace

import (
	"context"
	"fmt"
	"slices"
)

// windowBuckets is how many buckets are read together: enough that a page
// read serves several entries, few enough that what was read is still true
// when it is used.
const windowBuckets = 16384

// maxRestarts bounds how often a walk of one database begins again because
// its table was replaced.
const maxRestarts = 8

func (k *Keyspace) newReader() (*reader, error) {
	data, err := k.maps()
	if err != nil {
		return nil, err
	}
	return &reader{k: k, win: newWindow(k.mem, data)}, nil
}

// readDict reads the header of a database's main dictionary afresh.
func (k *Keyspace) readDict(ctx context.Context, r *reader, db int) (dict, error) {
	r.win.reset()
	b, err := r.win.read(ctx, k.dbs+k.layout.DBStride*uint64(db), 8)
	if err != nil {
		return dict{}, err
	}
	if b != nil {
		if b, err = r.win.read(ctx, u64(b), dictSize); err != nil {
			return dict{}, err
		}
	}
	d, err := decodeDict(b, r.win.data)
	if err != nil {
		return dict{}, fmt.Errorf("reading database %d of pid %d: %w", db, k.pid, err)
	}
	return d, nil
}

// Walk visits every key of every database once; a key that is being rehashed
// meanwhile may be visited twice, and one written meanwhile not at all. An
// error of visit ends the walk and is returned.
func (k *Keyspace) Walk(ctx context.Context, visit func(*Entry) error) (Stats, error) {
	r, err := k.newReader()
	if err != nil {
		return Stats{}, err
	}
	for db := range k.layout.Databases {
		if err = k.walkDB(ctx, r, db, visit); err != nil {
			break
		}
	}
	r.stats.Pages = r.win.pages
	return r.stats, err
}

func (k *Keyspace) walkDB(ctx context.Context, r *reader, db int, visit func(*Entry) error) error {
	var done []table // tables walked to their end
	for range maxRestarts {
		d, err := k.readDict(ctx, r, db)
		if err != nil {
			return err
		}
		// The server moves entries from table 0 to table 1, so in this order
		// none slips past.
		unchanged := true
		for _, t := range d.tables {
			walked := slices.ContainsFunc(done, func(o table) bool { return o.addr == t.addr && o.exp == t.exp })
			if t.slots() == 0 || walked {
				continue
			}
			if unchanged, err = k.walkTable(ctx, r, db, d, t, visit); err != nil {
				return err
			}
			if !unchanged {
				break
			}
			done = append(done, t)
		}
		if unchanged {
			return nil
		}
	}
	r.stats.count(TableChanged)
	return nil
}

// walkTable visits the entries of one table. It returns false when the
// dictionary got other tables meanwhile.
func (k *Keyspace) walkTable(ctx context.Context, r *reader, db int, d dict, t table, visit func(*Entry) error) (unchanged bool, err error) {
	for first := uint64(0); first < t.slots(); first += windowBuckets {
		last := min(first+windowBuckets, t.slots())
		buckets := func(yield func(uint64) bool) {
			for b := first; b < last; b++ {
				if !yield(b) {
					return
				}
			}
		}
		if err := r.resolve(ctx, db, t, buckets, func(*found) bool { return true }, visit); err != nil {
			return false, err
		}
		now, err := k.readDict(ctx, r, db)
		if err != nil {
			return false, err
		}
		if !d.sameTables(now) {
			return false, nil
		}
	}
	return true, nil
}

// Lookup visits those of the named keys of a database that exist, in no
// particular order, reading nothing but the buckets they hash to.
func (k *Keyspace) Lookup(ctx context.Context, db int, keys []string, visit func(*Entry) error) (Stats, error) {
	if db < 0 || db >= k.layout.Databases {
		return Stats{}, fmt.Errorf("looking up keys in database %d: the server has databases 0 to %d", db, k.layout.Databases-1)
	}
	r, err := k.newReader()
	if err != nil {
		return Stats{}, err
	}
	d, err := k.readDict(ctx, r, db)
	if err != nil {
		return Stats{}, err
	}
	wanted := make(map[string]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	for _, t := range d.tables {
		if t.slots() == 0 {
			continue
		}
		buckets := make(map[uint64]bool, len(keys))
		for key := range wanted {
			buckets[k.seed.hash([]byte(key))&(t.slots()-1)] = true
		}
		err = r.resolve(ctx, db, t, func(yield func(uint64) bool) {
			for b := range buckets {
				if !yield(b) {
					return
				}
			}
		}, func(f *found) bool {
			take := wanted[string(f.name)]
			delete(wanted, string(f.name)) // while rehashing, look once
			return take
		}, visit)
		if err != nil {
			break
		}
	}
	r.stats.Pages = r.win.pages
	return r.stats, err
}
