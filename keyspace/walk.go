package keyspace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// windowBuckets is how many buckets are read together: enough that a page
// read serves several entries, few enough that what was read is still true
// when it is used.
const windowBuckets = 16384

const (
	// maxTables bounds how many tables of one database a walk follows: a
	// table doubles when it grows, so it takes a flood of keys, or an endless
	// loop, to see more.
	maxTables = 32
	// maxTorn bounds how often in a row a header is read that makes no sense
	// because the server is just changing it.
	maxTorn = 16
)

func (k *Keyspace) newReader() (*reader, error) {
	data, err := k.maps()
	if err != nil {
		return nil, err
	}
	return &reader{k: k, win: newWindow(k.mem, data)}, nil
}

// refresh reads afresh where the server's data can lie.
func (r *reader) refresh() (err error) {
	r.win.data, err = r.k.maps()
	return err
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

// soundDict reads the header of a database's main dictionary until it makes
// sense: the server may be changing it, or have got new memory for a table.
func (k *Keyspace) soundDict(ctx context.Context, r *reader, db int) (dict, error) {
	for torn := 0; ; torn++ {
		d, err := k.readDict(ctx, r, db)
		if !errors.Is(err, errBadDict) || torn == maxTorn {
			return d, err
		}
		if err := r.refresh(); err != nil {
			return dict{}, err
		}
	}
}

// Walk visits every key of every database. A key that is written meanwhile
// may not be visited, and one that is being rehashed just when it is read may
// be visited twice. An error of visit ends the walk and is returned.
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

// tableWalk is how far a walk of one table is.
type tableWalk struct {
	table
	next uint64 // first bucket not yet read
	// moved says, for each window read, up to which bucket the server may have
	// moved entries to another table before they were read here.
	moved []uint64
	// from is the table whose entries move to this one, if this one was made
	// during the walk. A table that was there before may hold keys that never
	// were in another.
	from *tableWalk
}

// visited reports whether the entry with this hash was visited in w or in a
// table its entries came from.
func (w *tableWalk) visited(hash uint64) bool {
	for ; w != nil; w = w.from {
		bucket := hash & (w.slots() - 1)
		if i := bucket / windowBuckets; i < uint64(len(w.moved)) && bucket >= w.moved[i] {
			return true
		}
	}
	return false
}

// dbWalk is how far the walk of one database is.
type dbWalk struct {
	tables []*tableWalk
	main   *tableWalk // of the table that was last the first one
}

// look takes note of the tables in a header and returns one that is not
// walked to its end, or nil. The first table goes first: the server moves
// entries from it to the second, so none slips past.
func (w *dbWalk) look(d dict) (next *tableWalk) {
	begun := len(w.tables) > 0
	for i, t := range d.tables {
		if t.slots() == 0 {
			continue
		}
		at := slices.IndexFunc(w.tables, func(o *tableWalk) bool { return o.addr == t.addr && o.exp == t.exp })
		if at < 0 {
			at = len(w.tables)
			w.tables = append(w.tables, &tableWalk{table: t})
			if begun {
				w.tables[at].from = w.main
			}
		}
		if i == 0 {
			w.main = w.tables[at]
		}
		if next == nil && w.tables[at].next < t.slots() {
			next = w.tables[at]
		}
	}
	return next
}

func (k *Keyspace) walkDB(ctx context.Context, r *reader, db int, visit func(*Entry) error) error {
	d, err := k.soundDict(ctx, r, db)
	if err != nil {
		return err
	}
	var walk dbWalk
	for t := walk.look(d); t != nil; t = walk.look(d) {
		if len(walk.tables) > maxTables {
			r.stats.count(TableChanged)
			return nil
		}
		last := min(t.next+windowBuckets, t.slots())
		if err := r.resolve(ctx, db, t.table, bucketRange(t.next, last), func(f *found) bool {
			return t.from == nil || !t.from.visited(k.seed.hash(f.name))
		}, visit); err != nil {
			return err
		}
		t.next = last
		if d, err = k.soundDict(ctx, r, db); err != nil {
			return err
		}
		t.moved = append(t.moved, d.movedUpTo(t.table))
	}
	return nil
}

// bucketRange yields the buckets from first to last, exclusive.
func bucketRange(first, last uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for b := first; b < last; b++ {
			if !yield(b) {
				return
			}
		}
	}
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
	d, err := k.soundDict(ctx, r, db)
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
