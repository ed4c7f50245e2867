package keyspace_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"numa-agent/internal/redistest"
	"numa-agent/keyspace"
)

func attach(t *testing.T, s *redistest.Server) *keyspace.Keyspace {
	t.Helper()
	k, err := keyspace.Attach(t.Context(), s.PID, "redis", "7.0.15")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// whole is an entry with the extents of all its parts.
type whole struct {
	keyspace.Entry
	key string
}

// gather collects the visited entries by database and key.
type gather map[string]*whole

func id(db int, key string) string { return strconv.Itoa(db) + "/" + key }

func (g gather) visit(e *keyspace.Entry) error {
	w := g[id(e.DB, string(e.Key))]
	if e.Part == 0 {
		w = &whole{Entry: *e, key: string(e.Key)}
		w.Extents = nil
		g[id(e.DB, w.key)] = w
	}
	w.Extents = append(w.Extents, e.Extents...)
	w.Incomplete = w.Incomplete || e.Incomplete
	return nil
}

func (w *whole) bytes(kind keyspace.Kind) (n int) {
	for _, x := range w.Extents {
		if x.Kind == kind {
			n += int(x.Len)
		}
	}
	return n
}

func walk(t *testing.T, k *keyspace.Keyspace) (gather, keyspace.Stats) {
	t.Helper()
	g := gather{}
	stats, err := k.Walk(t.Context(), g.visit)
	if err != nil {
		t.Fatal(err)
	}
	return g, stats
}

var debugObject = regexp.MustCompile(`Value at:(0x[0-9a-f]+) refcount:(\d+) encoding:(\w+)`)

// TestEveryEncoding holds a walk against what the server says of its keys.
func TestEveryEncoding(t *testing.T) {
	s := redistest.Start(t, append(redistest.DatasetArgs, "--maxmemory-policy", "allkeys-lfu", "--lfu-decay-time", "0")...)
	encodings := redistest.LoadDataset(t.Context(), t, s)
	k := attach(t, s)
	g, stats := walk(t, k)
	if len(stats.Anomalies) > 0 {
		t.Errorf("anomalies on an idle server: %v", stats.Anomalies)
	}
	if len(g) != len(encodings) {
		t.Errorf("walk found %d keys, want %d", len(g), len(encodings))
	}
	for key, encoding := range encodings {
		t.Run(key, func(t *testing.T) {
			e := g[id(0, key)]
			if e == nil {
				t.Fatal("not found")
			}
			if e.Incomplete {
				t.Error("incomplete")
			}
			if e.Encoding.String() != encoding {
				t.Errorf("encoding %s, want %s", e.Encoding, encoding)
			}
			if typ := s.Type(t.Context(), key).Val(); e.Type.String() != typ {
				t.Errorf("type %s, want %s", e.Type, typ)
			}
			if counter := e.HeatBits & 0xff; int64(counter) != s.ObjectFreq(t.Context(), key).Val() {
				t.Errorf("LFU counter %d, want %d", counter, s.ObjectFreq(t.Context(), key).Val())
			}
			checkAddress(t, s, e)
			checkSize(t, s, e)
		})
	}
}

// checkAddress holds the object's address against DEBUG OBJECT's.
func checkAddress(t *testing.T, s *redistest.Server, e *whole) {
	t.Helper()
	reply := s.Do(t.Context(), "DEBUG", "OBJECT", e.key).String()
	m := debugObject.FindStringSubmatch(reply)
	if m == nil {
		t.Fatalf("DEBUG OBJECT answered %q", reply)
	}
	addr, err := strconv.ParseUint(m[1], 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(e.Extents, func(x keyspace.Extent) bool { return x.Kind == keyspace.Object })
	switch shared := m[2] == "2147483647"; {
	case shared && i >= 0:
		t.Error("a shared object belongs to no key")
	case !shared && (i < 0 || e.Extents[i].Addr != addr):
		t.Errorf("object not at %#x as DEBUG OBJECT says", addr)
	}
}

// checkSize holds the extents against MEMORY USAGE, which adds up the
// allocator's size classes: up to 25 % more than what is used of them.
func checkSize(t *testing.T, s *redistest.Server, e *whole) {
	t.Helper()
	usage, err := s.MemoryUsage(t.Context(), e.key, 0).Result()
	if err != nil {
		t.Fatal(err)
	}
	if e.Encoding == keyspace.Int {
		return // counts the object, which may be shared
	}
	ours := int64(e.bytes(keyspace.DictEntry) + e.bytes(keyspace.Key) + e.bytes(keyspace.Object) + e.bytes(keyspace.Value))
	least := usage * 3 / 4
	if e.Type == keyspace.Stream {
		// XADD allocates a listpack of stream-node-max-bytes and fills it.
		least = 0
	}
	if ours > usage || ours < least {
		t.Errorf("extents of %d bytes, MEMORY USAGE says %d", ours, usage)
	}
}

// TestKeysOfEveryLength checks names of every length and byte in 16 databases
// against SCAN, by walk and by look-up.
func TestKeysOfEveryLength(t *testing.T) {
	s := redistest.Start(t, "--activerehashing", "no") // else entries change buckets on their own
	k := attach(t, s)                                  // before there is a key
	want := map[string]bool{}
	for db := range 16 {
		p := s.Pipeline()
		p.Select(t.Context(), db)
		for n := range 300 {
			key := strings.Repeat("k", n)
			if n < 256 {
				key = fmt.Sprintf("%c%s\x00%s", byte(n), key, string([]byte{byte(n)}))
			}
			p.Set(t.Context(), key, "value", 0)
			want[id(db, key)] = true
		}
		long := strings.Repeat("long", 1<<(db+2))
		p.Set(t.Context(), long, "value", 0)
		want[id(db, long)] = true
		if _, err := p.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g, stats := walk(t, k)
	if len(stats.Anomalies) > 0 {
		t.Errorf("anomalies on an idle server: %v", stats.Anomalies)
	}
	if len(g) != len(want) || stats.Entries != uint64(len(want)) {
		t.Errorf("walk found %d keys, counted %d, want %d", len(g), stats.Entries, len(want))
	}
	looked := gather{}
	for db := range 16 {
		var keys []string
		for key := range want {
			if name, ok := strings.CutPrefix(key, strconv.Itoa(db)+"/"); ok {
				keys = append(keys, name)
			}
		}
		if _, err := k.Lookup(t.Context(), db, append(keys, "absent"), looked.visit); err != nil {
			t.Fatal(err)
		}
	}
	for key := range want {
		if g[key] == nil || looked[key] == nil {
			t.Fatalf("key %q: walked %v, looked up %v", key, g[key] != nil, looked[key] != nil)
		}
		if !slices.Equal(g[key].Extents, looked[key].Extents) {
			t.Fatalf("key %q: walk and look-up disagree: %v, %v", key, g[key].Extents, looked[key].Extents)
		}
	}
	if len(looked) != len(want) {
		t.Errorf("look-up found %d keys, want %d", len(looked), len(want))
	}
}

// TestValueBytes reads the extents of every value back and finds all its
// elements in them. Lists that are compressed, and elements that are stored as
// binary integers, are not to be found as text.
func TestValueBytes(t *testing.T) {
	s := redistest.Start(t, "--list-compress-depth", "0")
	encodings := redistest.LoadDataset(t.Context(), t, s)
	k := attach(t, s)
	for key := range encodings {
		t.Run(key, func(t *testing.T) {
			g := gather{}
			if _, err := k.Lookup(t.Context(), 0, []string{key}, g.visit); err != nil {
				t.Fatal(err)
			}
			var memory []byte
			for _, x := range g[id(0, key)].Extents {
				if x.Kind == keyspace.Value {
					memory = append(memory, readMemory(t, s.PID, x)...)
				}
			}
			for _, element := range redistest.Elements(t.Context(), t, s, key) {
				if _, err := strconv.Atoi(element); err == nil {
					continue
				}
				if !bytes.Contains(memory, []byte(element)) {
					t.Fatalf("element %.40q is not in the %d bytes of the value's extents", element, len(memory))
				}
			}
		})
	}
}

// TestRehash walks while the table grows.
func TestRehash(t *testing.T) {
	s := redistest.Start(t, "--activerehashing", "no", "--enable-debug-command", "yes")
	k := attach(t, s)
	ctx := context.Background()
	want := 0
	for _, n := range []int{1, 4, 5, 1023, 1025, 40_000, 70_000} {
		p := s.Pipeline()
		for ; want < n; want++ {
			p.Set(ctx, fmt.Sprintf("key:%d", want), want, 0)
		}
		if _, err := p.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		g, stats := walk(t, k)
		if len(g) != want || len(stats.Anomalies) > 0 {
			t.Errorf("with %d keys the walk found %d, anomalies %v", want, len(g), stats.Anomalies)
		}
	}
}

// TestGrowth walks again and again while keys are added and tables grow: the
// keys that were there before are visited every time, and not all of them twice.
func TestGrowth(t *testing.T) {
	const stable, added = 60_000, 400_000
	s := redistest.Start(t)
	load := func(ctx context.Context, prefix string, n int) error {
		for first := 0; first < n; first += 1000 {
			p := s.Pipeline()
			for i := range 1000 {
				p.Set(ctx, prefix+strconv.Itoa(first+i), "value", 0)
			}
			if _, err := p.Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := load(t.Context(), "stable:", stable); err != nil {
		t.Fatal(err)
	}
	k := attach(t, s)
	done := make(chan error, 1)
	go func() { done <- load(t.Context(), "added:", added) }()
	walks, twice := 0, 0
	for ended := false; !ended; walks++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		visits := map[string]int{}
		if _, err := k.Walk(t.Context(), func(e *keyspace.Entry) error {
			if e.Part == 0 && bytes.HasPrefix(e.Key, []byte("stable:")) {
				visits[string(e.Key)]++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(visits) < stable*999/1000 {
			t.Errorf("walk %d found %d of %d keys", walks, len(visits), stable)
		}
		for _, n := range visits {
			twice += n - 1
		}
	}
	t.Logf("%d walks, %d visits too many", walks, twice)
	if twice > walks*stable {
		t.Errorf("%d visits too many in %d walks of %d keys", twice, walks, stable)
	}
}
