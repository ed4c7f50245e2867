package keyspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Keyspace is the keyspace of one attached server. Its methods may not be
// used concurrently.
type Keyspace struct {
	pid    int
	exe    string
	mem    memory
	maps   func() (*addressMap, error)
	syms   symbols
	layout Layout
	seed   seed
	dbs    uint64 // address of the array of databases
}

// Attach finds the keyspace of process pid, whose server calls itself name
// ("redis") and version ("7.0.15"), and proves its layout. The error wraps
// ErrUnsupportedLayout when the process is not such a server,
// fs.ErrPermission when it may not be read, or ErrProcessGone.
func Attach(ctx context.Context, pid int, name, version string) (*Keyspace, error) {
	if name != "redis" || !strings.HasPrefix(version, "7.0.") {
		return nil, fmt.Errorf("attaching to pid %d: %w: %s %s, supported is redis 7.0", pid, ErrUnsupportedLayout, name, version)
	}
	link := fmt.Sprintf("/proc/%d/exe", pid)
	exe, err := os.Readlink(link)
	if err != nil {
		return nil, attachError(pid, "finding its executable", err)
	}
	// Opened through the link: it works across mount namespaces and after an
	// upgrade has replaced the file.
	file, err := os.Open(link)
	if err != nil {
		return nil, attachError(pid, "opening its executable", err)
	}
	defer file.Close()
	_, image, err := readMaps(pid, exe)
	if err != nil {
		return nil, attachError(pid, "finding its memory", err)
	}
	k := &Keyspace{pid: pid, exe: exe, mem: &processMemory{pid: pid}}
	k.maps = func() (*addressMap, error) {
		m, _, err := readMaps(pid, exe)
		return m, err
	}
	if err := k.calibrate(ctx, file, image); err != nil {
		return nil, attachError(pid, "finding its keyspace", err)
	}
	return k, nil
}

func attachError(pid int, doing string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = ErrProcessGone
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("attaching to pid %d: %s: %w: run as the server's own uid and gid, or with CAP_SYS_PTRACE", pid, doing, fs.ErrPermission)
	}
	return fmt.Errorf("attaching to pid %d: %s: %w", pid, doing, err)
}

// Layout tells how the keyspace is laid out and how that was proven.
func (k *Keyspace) Layout() Layout { return k.layout }

// maxDatabases bounds the search for the end of the array of databases.
const maxDatabases = 1 << 16

// maxDBSize bounds sizeof(redisDb): 80 bytes in 7.0.
const maxDBSize = 256

// calibrate finds the databases and the hash seed.
//
// The symbol server gives struct redisServer; among its words is server.db,
// which points to databases whose first word points to a dictionary of type
// dbDictType, and server.commands, a dictionary of type commandTableDictType.
// The names of the commands are known to be hashed with the seed that the
// keyspace is hashed with, so an empty server can be proven too.
func (k *Keyspace) calibrate(ctx context.Context, exe io.ReaderAt, image imageMap) error {
	var err error
	if k.syms, err = readSymbols(exe, image.base); err != nil {
		return err
	}
	r, err := k.newReader()
	if err != nil {
		return err
	}
	words, err := k.serverWords(ctx, r)
	if err != nil {
		return err
	}
	if err := k.findDatabases(ctx, r, words); err != nil {
		return err
	}
	commands, err := k.findCommands(r, words)
	if err != nil {
		return err
	}
	names, err := r.sample(ctx, commands.tables[0])
	if err != nil {
		return err
	}
	if err := k.findSeed(ctx, r, names, commands.tables[0], image.data); err != nil {
		return err
	}
	return k.prove(ctx, r)
}

// serverWords returns the words of struct redisServer that may be pointers,
// by their offset, with the structures they point to in the window.
func (k *Keyspace) serverWords(ctx context.Context, r *reader) (map[uint64]uint64, error) {
	b, err := r.win.read(ctx, k.syms.server.start, k.syms.server.end-k.syms.server.start)
	if err != nil {
		return nil, err
	}
	words := make(map[uint64]uint64)
	for off := uint64(0); off+8 <= uint64(len(b)); off += 8 {
		if p := u64(b[off:]); p&7 == 0 && r.win.data.contains(p, dictSize) {
			words[off] = p
		}
	}
	for _, p := range words {
		r.win.want(p, maxDBSize)
	}
	return words, r.win.fetch(ctx)
}

// findDatabases finds server.db, the size of a database and their number.
func (k *Keyspace) findDatabases(ctx context.Context, r *reader, words map[uint64]uint64) error {
	for _, p := range words {
		if b := r.win.at(p, 8); b != nil {
			r.win.want(u64(b), dictSize)
		}
	}
	if err := r.win.fetch(ctx); err != nil {
		return err
	}
	for off, p := range words {
		if !k.isDatabase(r, p) {
			continue
		}
		if k.dbs != 0 && k.layout.DBOffset < off {
			continue // the first is server.db; others are copies of it
		}
		k.dbs, k.layout.DBOffset = p, off
	}
	if k.dbs == 0 {
		return fmt.Errorf("%w: no word of struct redisServer points to a database with a dictionary of type dbDictType", ErrUnsupportedLayout)
	}
	k.layout.Family, k.layout.EntrySize, k.layout.Databases = "redis-7.0", entrySize, 1
	stride, err := k.findStride(ctx, r)
	if err != nil || stride == 0 {
		return err
	}
	k.layout.DBStride = stride
	for k.layout.Databases < maxDatabases {
		ok, err := k.readDatabase(ctx, r, k.dbs+stride*uint64(k.layout.Databases))
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		k.layout.Databases++
	}
	return nil
}

// findStride returns the distance of the second database from the first, or
// 0 when there is no second.
func (k *Keyspace) findStride(ctx context.Context, r *reader) (uint64, error) {
	for stride := uint64(24); stride < maxDBSize; stride += 8 {
		ok, err := k.readDatabase(ctx, r, k.dbs+stride)
		if ok || err != nil {
			return stride, err
		}
	}
	return 0, nil
}

func (k *Keyspace) readDatabase(ctx context.Context, r *reader, addr uint64) (bool, error) {
	b, err := r.win.read(ctx, addr, 8)
	if err != nil || b == nil {
		return false, err
	}
	if _, err := r.win.read(ctx, u64(b), dictSize); err != nil {
		return false, err
	}
	return k.isDatabase(r, addr), nil
}

// isDatabase reports whether the words at addr, all in the window, begin with
// a pointer to a sound dictionary of type dbDictType.
func (k *Keyspace) isDatabase(r *reader, addr uint64) bool {
	b := r.win.at(addr, 8)
	if b == nil || !r.win.data.contains(u64(b), dictSize) {
		return false
	}
	d, err := decodeDict(r.win.at(u64(b), dictSize), r.win.data)
	return err == nil && d.typ == k.syms.dbDictType
}

// fewCommands is less than any server has: they are over 200.
const fewCommands = 64

// findCommands finds the larger of server.commands and server.orig_commands.
func (k *Keyspace) findCommands(r *reader, words map[uint64]uint64) (dict, error) {
	var best dict
	for _, p := range words {
		d, err := decodeDict(r.win.at(p, dictSize), r.win.data)
		if err == nil && d.typ == k.syms.commands && d.tables[0].used > best.tables[0].used {
			best = d
		}
	}
	if best.tables[0].used < fewCommands {
		return dict{}, fmt.Errorf("%w: no word of struct redisServer points to a table of commands", ErrUnsupportedLayout)
	}
	return best, nil
}

// maxSample bounds how many buckets are read for a proof.
const maxSample = 4096

// sample reads entries of a table with their names, spread over the table.
func (r *reader) sample(ctx context.Context, t table) ([]found, error) {
	step := max(1, t.slots()/maxSample)
	entries, err := r.chains(ctx, t, func(yield func(uint64) bool) {
		for b := uint64(0); b < t.slots(); b += step {
			if !yield(b) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	named, _, err := r.names(ctx, entries, func(*found) bool { return true })
	return named, err
}

// findSeed looks at every offset of the program's data for the 16 bytes under
// which the names of the commands hash to the buckets they are in. With 200
// names in 256 buckets a wrong seed passes once in 2^1600.
func (k *Keyspace) findSeed(ctx context.Context, r *reader, names []found, t table, image []span) error {
	// dictSdsCaseHash hashes the lower-case name (src/server.c).
	for i := range names {
		names[i].name = bytes.ToLower(names[i].name)
	}
	if len(names) < fewCommands {
		return fmt.Errorf("%w: only %d commands could be read", ErrUnsupportedLayout, len(names))
	}
	matches := func(s seed) (n int) {
		for i := range names {
			if s.hash(names[i].name)&(t.slots()-1) == names[i].bucket {
				n++
			} else if i >= 16 && n < i/2 {
				return n
			}
		}
		return n
	}
	const chunk = 1 << 16
	for _, s := range image {
		for at := s.start; at < s.end; at += chunk {
			n := min(chunk+15, s.end-at)
			r.win.reset()
			b, err := r.win.read(ctx, at, n)
			if err != nil {
				return err
			}
			for i := 0; i+16 <= len(b); i++ {
				candidate := seedFrom(b[i:])
				if n := matches(candidate); n*100 >= 99*len(names) {
					k.seed, k.layout.Proven, k.layout.Names = candidate, n, len(names)
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%w: no hash seed in its data puts the %d commands into their buckets", ErrUnsupportedLayout, len(names))
}

// proofs is how often a proof is tried: in a small database that is written to,
// a sample may be out of date before it is whole.
const proofs = 5

func (k *Keyspace) prove(ctx context.Context, r *reader) (err error) {
	for range proofs {
		if err = k.proveOnce(ctx, r); !errors.Is(err, ErrUnsupportedLayout) && !errors.Is(err, errBadDict) {
			return err
		}
		if err := r.refresh(); err != nil {
			return err
		}
	}
	return err
}

// proveOnce checks a sample of the keyspace: the keys of the largest database
// must be in the buckets they hash to. Entries that changed meanwhile are why
// not all have to be.
func (k *Keyspace) proveOnce(ctx context.Context, r *reader) error {
	var largest dict
	for db := range k.layout.Databases {
		d, err := k.readDict(ctx, r, db)
		if err != nil {
			return err
		}
		if d.tables[0].used > largest.tables[0].used {
			largest = d
		}
	}
	t := largest.tables[0]
	if t.used == 0 {
		return nil
	}
	keys, err := r.sample(ctx, t)
	if err != nil {
		return err
	}
	proven := 0
	for i := range keys {
		if k.seed.hash(keys[i].name)&(t.slots()-1) == keys[i].bucket {
			proven++
		}
	}
	if proven*100 < 95*len(keys) {
		return fmt.Errorf("%w: only %d of %d sampled keys hash to the bucket they are in", ErrUnsupportedLayout, proven, len(keys))
	}
	k.layout.Proven += proven
	k.layout.Names += len(keys)
	return nil
}
