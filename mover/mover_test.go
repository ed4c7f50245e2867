package mover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"numa-agent/internal/linux"
	"numa-agent/topology"
)

const page = 4096

func alive() bool { return true }

// fakeOn returns a fake kernel with n pages on node 0 and room on nodes 0 and
// 1, and the moves of all its pages to node 1.
func fakeOn(n int) (*fakeKernel, []Move) {
	k := &fakeKernel{pages: make(map[uint64]*fakePage), room: map[int32]int{0: 1 << 30, 1: 1 << 30}}
	moves := make([]Move, n)
	for i := range moves {
		addr := uint64(i+1) * page
		k.pages[addr] = &fakePage{want: 1}
		moves[i] = Move{Addr: addr, Size: page, From: 0, To: 1}
	}
	return k, moves
}

func newMover(t *testing.T, k Kernel, cfg Config) *Mover {
	t.Helper()
	m, err := New(k, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sum(failed map[string]int) (n int) {
	for _, pages := range failed {
		n += pages
	}
	return n
}

// timeless compares results without what a clock measured.
var timeless = cmpopts.IgnoreFields(Result{}, "LongestCall", "Duration")

func TestRun(t *testing.T) {
	refuseMoves := func(move bool) error {
		if move {
			return linux.EINVAL
		}
		return nil
	}
	for _, tt := range []struct {
		name    string
		cfg     Config
		arrange func(k *fakeKernel, moves []Move)
		want    Result
		wantErr error
	}{
		{
			name: "all move",
			want: Result{MovedPages: 8, MovedBytes: 8 * page, Calls: 2, OnTarget: 8},
		},
		{
			name:    "all in place",
			arrange: func(k *fakeKernel, _ []Move) { each(k, func(p *fakePage) { p.node = 1 }) },
			want:    Result{AlreadyThere: 8, OnTarget: 8},
		},
		{
			name: "pages gone, unmapped and shared",
			arrange: func(k *fakeKernel, moves []Move) {
				k.pages[moves[0].Addr].errno = -int32(linux.ENOENT)
				delete(k.pages, moves[3].Addr)
				k.pages[moves[5].Addr].errno = -int32(linux.EACCES)
			},
			want: Result{
				MovedPages: 5, MovedBytes: 5 * page, Calls: 2, OnTarget: 5, OffTarget: 3,
				Failed: map[string]int{"ENOENT": 1, "EFAULT": 1, "EACCES": 1},
			},
		},
		{
			name:    "busy page clears",
			cfg:     Config{Retries: 3},
			arrange: func(k *fakeKernel, moves []Move) { k.pages[moves[2].Addr].busy = 2 },
			want:    Result{MovedPages: 8, MovedBytes: 8 * page, Calls: 4, Retried: 2, OnTarget: 8},
		},
		{
			name:    "busy page never clears",
			cfg:     Config{Retries: 3},
			arrange: func(k *fakeKernel, moves []Move) { k.pages[moves[2].Addr].busy = 99 },
			want: Result{
				MovedPages: 7, MovedBytes: 7 * page, Calls: 5, Retried: 3, OnTarget: 7, OffTarget: 1,
				Failed: map[string]int{"EBUSY": 1},
			},
		},
		{
			name:    "no retries",
			arrange: func(k *fakeKernel, moves []Move) { k.pages[moves[2].Addr].busy = 1 },
			want: Result{
				MovedPages: 7, MovedBytes: 7 * page, Calls: 2, OnTarget: 7, OffTarget: 1,
				Failed: map[string]int{"EBUSY": 1},
			},
		},
		{
			name: "positive count of a pinned page before a busy one",
			// The first call gives up at page 1: pages 2 and 3 move at the retry.
			cfg: Config{Retries: 1},
			arrange: func(k *fakeKernel, moves []Move) {
				k.pages[moves[0].Addr].pinned = 99
				k.pages[moves[1].Addr].busy = 99
			},
			want: Result{
				MovedPages: 6, MovedBytes: 6 * page, Calls: 3, Retried: 4, OnTarget: 6, OffTarget: 2,
				Failed: map[string]int{"EBUSY": 2},
			},
		},
		{
			name: "statuses that a positive count makes stale",
			arrange: func(k *fakeKernel, moves []Move) {
				k.stale = true
				k.pages[moves[0].Addr].pinned = 99
			},
			want: Result{
				MovedPages: 7, MovedBytes: 7 * page, Calls: 2, OnTarget: 7, OffTarget: 1,
				Failed: map[string]int{"EBUSY": 1},
			},
		},
		{
			name: "statuses that an errno makes stale",
			arrange: func(k *fakeKernel, _ []Move) {
				k.stale = true
				k.room[1] = 0
			},
			want: Result{Calls: 1, OffTarget: 8, Failed: map[string]int{"ENOMEM": 4, "not-attempted": 4}},
		},
		{
			name:    "page unmapped during the call",
			arrange: func(k *fakeKernel, moves []Move) { k.pages[moves[0].Addr].fleeting = true },
			want: Result{
				MovedPages: 7, MovedBytes: 7 * page, Calls: 2, OnTarget: 7, OffTarget: 1,
				Failed: map[string]int{"ENOENT": 1},
			},
		},
		{
			name:    "node fills up",
			arrange: func(k *fakeKernel, _ []Move) { k.room[1] = 2 },
			want: Result{
				MovedPages: 2, MovedBytes: 2 * page, Calls: 1, OnTarget: 2, OffTarget: 6,
				Failed: map[string]int{"ENOMEM": 2, "not-attempted": 4},
			},
		},
		{
			name: "interleaved nodes, one of them full",
			arrange: func(k *fakeKernel, moves []Move) {
				k.room[1] = 0
				k.room[2] = 8
				for _, i := range []int{1, 3, 5, 7} {
					moves[i].To = 2
					k.pages[moves[i].Addr].want = 2
				}
			},
			want: Result{
				MovedPages: 4, MovedBytes: 4 * page, Calls: 2, OnTarget: 4, OffTarget: 4,
				Failed: map[string]int{"ENOMEM": 4},
			},
		},
		{
			name:    "node does not exist",
			arrange: func(k *fakeKernel, _ []Move) { delete(k.room, 1) },
			want:    Result{Calls: 1, Failed: map[string]int{"ENODEV": 4, "not-attempted": 4}},
			wantErr: linux.ENODEV,
		},
		{
			name:    "node outside the cpuset",
			arrange: func(k *fakeKernel, _ []Move) { k.denied = map[int32]bool{1: true} },
			want:    Result{Calls: 1, Failed: map[string]int{"EACCES": 4, "not-attempted": 4}},
			wantErr: fs.ErrPermission,
		},
		{
			name:    "may not even ask",
			arrange: func(k *fakeKernel, _ []Move) { k.fail = func(bool) error { return linux.EPERM } },
			want:    Result{Failed: map[string]int{"not-attempted": 8}},
			wantErr: fs.ErrPermission,
		},
		{
			name: "process gone before the second batch",
			arrange: func(k *fakeKernel, _ []Move) {
				k.fail = func(bool) error {
					if k.moves > 0 && k.asks > 1 {
						return linux.ESRCH
					}
					return nil
				}
			},
			want: Result{
				MovedPages: 4, MovedBytes: 4 * page, Calls: 1,
				Failed: map[string]int{"not-attempted": 4},
			},
			wantErr: topology.ErrProcessGone,
		},
		{
			name:    "process without memory",
			arrange: func(k *fakeKernel, _ []Move) { k.fail = refuseMoves },
			want:    Result{Calls: 1, Failed: map[string]int{"EINVAL": 4, "not-attempted": 4}},
			wantErr: topology.ErrProcessGone,
		},
		{
			name: "interrupted calls are repeated",
			arrange: func(k *fakeKernel, _ []Move) {
				n := 0
				k.fail = func(bool) error {
					if n++; n%2 == 1 {
						return linux.EINTR
					}
					return nil
				}
			},
			want: Result{MovedPages: 8, MovedBytes: 8 * page, Calls: 4, OnTarget: 8},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, moves := fakeOn(8)
			if tt.arrange != nil {
				tt.arrange(k, moves)
			}
			tt.cfg.BatchPages = 4
			tt.cfg.RetryPause = time.Microsecond
			got, err := newMover(t, k, tt.cfg).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil)
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("Run: %v, want %v", err, tt.wantErr)
			}
			tt.want.Submitted = 8
			if diff := cmp.Diff(tt.want, got, timeless, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Result (-want +got):\n%s", diff)
			}
			if k.dirty {
				t.Error("a call came without StatusUnset in its statuses")
			}
			if k.misled > 0 {
				t.Errorf("%d pages moved to a node they were not meant for", k.misled)
			}
			if k.largest > 4 {
				t.Errorf("call of %d pages, want 4 at most", k.largest)
			}
		})
	}
}

func each(k *fakeKernel, do func(*fakePage)) {
	for _, p := range k.pages {
		do(p)
	}
}

// TestRunAccounts runs over random processes, failures of calls, deaths of the
// target and cancellations: every page is counted once, and what is counted as
// moved is where the kernel has it.
func TestRunAccounts(t *testing.T) {
	statuses := []int32{0, 0, 0, 0, -int32(linux.ENOENT), -int32(linux.EFAULT), -int32(linux.EACCES), -5}
	errnos := []error{linux.EINTR, linux.ESRCH, linux.EPERM, linux.EACCES, linux.ENODEV, linux.ENOMEM, linux.EINVAL, linux.ENOSYS, errors.New("other")}
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 0))
		k, moves := fakeOn(random.IntN(60))
		k.room = map[int32]int{0: 0, 1: random.IntN(80), 2: random.IntN(80)}
		if random.IntN(8) == 0 {
			k.denied = map[int32]bool{2: true}
		}
		if random.IntN(2) == 0 {
			k.random = random
		}
		k.stale = random.IntN(2) == 0
		for i := range moves {
			moves[i].To = int16(1 + random.IntN(2))
			p := k.pages[moves[i].Addr]
			p.node = int32(random.IntN(3))
			p.want = int32(moves[i].To)
			p.fleeting = random.IntN(10) == 0
			p.errno = statuses[random.IntN(len(statuses))]
			if random.IntN(4) == 0 {
				p.busy = random.IntN(6)
			}
			if random.IntN(8) == 0 {
				p.pinned = random.IntN(6)
			}
		}
		random.Shuffle(len(moves), func(i, j int) { moves[i], moves[j] = moves[j], moves[i] })

		ctx, cancel := context.WithCancel(t.Context())
		dead := false
		calls, last := 0, 1+random.IntN(20)
		event, errno := random.IntN(6), errnos[random.IntN(len(errnos))]
		k.fail = func(bool) error {
			if calls++; calls != last {
				return nil
			}
			switch event {
			case 0:
				cancel()
			case 1:
				dead = true
			case 2, 3:
				return errno
			}
			return nil
		}
		var seen Progress
		cfg := Config{BatchPages: 1 + random.IntN(9), Retries: random.IntN(4), RetryPause: time.Nanosecond}
		result, err := newMover(t, k, cfg).Run(ctx, Target{PID: 7, Alive: func() bool { return !dead }}, moves,
			func(p Progress) {
				if p.Done < seen.Done || p.MovedPages < seen.MovedPages || p.Total != len(moves) {
					t.Errorf("seed %d: progress went from %+v to %+v", seed, seen, p)
				}
				seen = p
			})
		cancel()

		inPlace := 0
		for _, mv := range moves {
			if k.where(mv.Addr) == int32(mv.To) {
				inPlace++
			}
		}
		if got := result.MovedPages + result.AlreadyThere + sum(result.Failed); got != len(moves) || result.Submitted != len(moves) {
			t.Errorf("seed %d: accounts for %d of %d pages: %+v", seed, got, len(moves), result)
		}
		if result.MovedBytes != uint64(result.MovedPages)*page {
			t.Errorf("seed %d: %d bytes for %d pages", seed, result.MovedBytes, result.MovedPages)
		}
		if seen.Done != len(moves) || seen.MovedPages != result.MovedPages {
			t.Errorf("seed %d: last progress %+v, result %+v", seed, seen, result)
		}
		good := result.MovedPages + result.AlreadyThere
		if good > inPlace || err == nil && good != inPlace {
			t.Errorf("seed %d: says %d pages are in place, %d are (error %v)", seed, good, inPlace, err)
		}
		switch verified := result.OnTarget + result.OffTarget; {
		case err == nil && (verified != len(moves) || result.OnTarget != inPlace):
			t.Errorf("seed %d: verified %d+%d pages, %d of %d are in place", seed, result.OnTarget, result.OffTarget, inPlace, len(moves))
		case err != nil && verified != 0:
			t.Errorf("seed %d: verified %d pages of a run that ended early", seed, verified)
		}
		if k.misled > 0 {
			t.Errorf("seed %d: %d pages moved to a node they were not meant for", seed, k.misled)
		}
		if k.largest > cfg.BatchPages {
			t.Errorf("seed %d: call of %d pages, want %d at most", seed, k.largest, cfg.BatchPages)
		}
		if event == 0 && err != nil && k.denied == nil && !errors.Is(err, context.Canceled) {
			t.Errorf("seed %d: cancelled run ends with %v", seed, err)
		}
		if dead && err != nil && k.denied == nil && !errors.Is(err, topology.ErrProcessGone) {
			t.Errorf("seed %d: run whose target died ends with %v", seed, err)
		}
		if t.Failed() {
			return
		}
	}
}

// A 2 MiB page weighs 512 small ones against the limit of a batch, and moves
// alone if it is above it.
func TestRunBatchesByBytes(t *testing.T) {
	k, moves := fakeOn(10)
	for i := range 2 {
		moves[i].Size = 512 * page
	}
	got, err := newMover(t, k, Config{BatchPages: 256}).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Submitted: 10, MovedPages: 10, MovedBytes: (2*512 + 8) * page, Calls: 3, OnTarget: 10}
	if diff := cmp.Diff(want, got, timeless, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Result (-want +got):\n%s", diff)
	}
}

func TestRunChecksTargetBeforeEachCall(t *testing.T) {
	k, moves := fakeOn(20)
	allowed := 5 // calls until the number belongs to another process
	target := Target{PID: 7, Alive: func() bool { return k.asks+k.moves < allowed }}
	got, err := newMover(t, k, Config{BatchPages: 4}).Run(t.Context(), target, moves, nil)
	if !errors.Is(err, topology.ErrProcessGone) {
		t.Errorf("Run: %v, want %v", err, topology.ErrProcessGone)
	}
	if calls := k.asks + k.moves; calls != allowed {
		t.Errorf("%d calls, want %d", calls, allowed)
	}
	// Two batches of an ask and a move each; the third was only asked about.
	want := Result{
		Submitted: 20, MovedPages: 8, MovedBytes: 8 * page, Calls: 2,
		Failed: map[string]int{"ESRCH": 4, "not-attempted": 8},
	}
	if diff := cmp.Diff(want, got, timeless, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Result (-want +got):\n%s", diff)
	}
}

func TestRunFlags(t *testing.T) {
	for _, tt := range []struct {
		shared bool
		flags  int
	}{
		{false, linux.MoveOwned},
		{true, linux.MoveShared},
	} {
		k, moves := fakeOn(1)
		if _, err := newMover(t, k, Config{Shared: tt.shared}).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil); err != nil {
			t.Fatal(err)
		}
		// One call before and one after only ask, which needs no flag.
		if diff := cmp.Diff(map[int]int{0: 2, tt.flags: 1}, k.flags); diff != "" {
			t.Errorf("Shared %v: calls by flags (-want +got):\n%s", tt.shared, diff)
		}
	}
}

func TestRunPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, moves := fakeOn(12)
		k.pages[moves[0].Addr].busy = 99
		cfg := Config{BatchPages: 4, Pause: 10 * time.Millisecond, Retries: 4, RetryPause: time.Second}
		got, err := newMover(t, k, cfg).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil)
		if err != nil {
			t.Fatal(err)
		}
		// A pause after the first and the second of three batches; none after
		// the only one of each retry.
		if want := 20*time.Millisecond + (1+2+4+8)*time.Second; got.Duration != want {
			t.Errorf("run took %v, want %v", got.Duration, want)
		}
	})
}

func TestRunMeasuresCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, moves := fakeOn(12)
		k.fail = func(move bool) error {
			if move {
				time.Sleep(time.Duration(k.moves) * time.Millisecond) //nolint:forbidigo // fake time: how long the call takes
			} else {
				time.Sleep(time.Minute) //nolint:forbidigo // fake time: how long the call takes
			}
			return nil
		}
		got, err := newMover(t, k, Config{BatchPages: 4}).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := 3 * time.Millisecond; got.LongestCall != want {
			t.Errorf("longest call %v, want %v", got.LongestCall, want)
		}
	})
}

func TestRunCancelled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		after time.Duration
		want  Result
	}{
		{
			name:  "in the pause between batches",
			cfg:   Config{BatchPages: 4, Pause: time.Second},
			after: 1500 * time.Millisecond,
			want:  Result{MovedPages: 7, MovedBytes: 7 * page, Calls: 2, Failed: map[string]int{"EBUSY": 1, "not-attempted": 4}},
		},
		{
			name:  "waiting to retry",
			cfg:   Config{BatchPages: 4, Retries: 3, RetryPause: time.Second},
			after: 1500 * time.Millisecond,
			want:  Result{MovedPages: 11, MovedBytes: 11 * page, Calls: 4, Retried: 1, Failed: map[string]int{"EBUSY": 1}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, moves := fakeOn(12)
				k.pages[moves[0].Addr].busy = 99
				ctx, cancel := context.WithTimeout(t.Context(), tt.after)
				defer cancel()
				got, err := newMover(t, k, tt.cfg).Run(ctx, Target{PID: 7, Alive: alive}, moves, nil)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Run: %v, want %v", err, context.DeadlineExceeded)
				}
				if got.Duration != tt.after {
					t.Errorf("run ended after %v, want %v", got.Duration, tt.after)
				}
				tt.want.Submitted = 12
				if diff := cmp.Diff(tt.want, got, timeless); diff != "" {
					t.Errorf("Result (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// An endless EINTR must not outlive its context.
func TestRunInterruptedForGood(t *testing.T) {
	k, moves := fakeOn(4)
	ctx, cancel := context.WithCancel(t.Context())
	k.fail = func(move bool) error {
		if !move {
			return nil
		}
		if k.moves == 10 {
			cancel()
		}
		return linux.EINTR
	}
	got, err := newMover(t, k, Config{}).Run(ctx, Target{PID: 7, Alive: alive}, moves, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want %v", err, context.Canceled)
	}
	want := Result{Submitted: 4, Calls: 10, Failed: map[string]int{"EINTR": 4}}
	if diff := cmp.Diff(want, got, timeless); diff != "" {
		t.Errorf("Result (-want +got):\n%s", diff)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	on := func(move bool, errno error) func(bool) error {
		return func(m bool) error {
			if m == move {
				return errno
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name   string
		shared bool
		fail   func(bool) error
		want   string
	}{
		{"asking", false, on(false, linux.EPERM), "asking where pages of pid 7 are: operation not permitted: run as its uid and gid or with CAP_SYS_PTRACE, and let the seccomp profile allow move_pages"},
		{"moving", false, on(true, linux.EPERM), "moving pages of pid 7 to node 1: operation not permitted: run as its uid and gid or with CAP_SYS_PTRACE, and let the seccomp profile allow move_pages"},
		{"moving shared", true, on(true, linux.EPERM), "moving pages of pid 7 to node 1: operation not permitted: moving shared pages needs CAP_SYS_NICE in the initial user namespace"},
		{"cpuset", false, on(true, linux.EACCES), "moving pages of pid 7 to node 1: permission denied: the node is outside its cpuset; see Mems_allowed_list in /proc/7/status"},
		{"absent node", false, on(true, linux.ENODEV), "moving pages of pid 7 to node 1: no such device: the node does not exist or has no memory"},
		{"hidden", false, on(false, linux.ENOSYS), "asking where pages of pid 7 are: function not implemented: the kernel has no move_pages, or the seccomp profile hides it"},
		{"gone", false, on(true, linux.ESRCH), fmt.Sprintf("moving pages of pid 7 to node 1: %v: no such process", topology.ErrProcessGone)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, moves := fakeOn(1)
			k.fail = tt.fail
			_, err := newMover(t, k, Config{Shared: tt.shared}).Run(t.Context(), Target{PID: 7, Alive: alive}, moves, nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("Run: %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		ok   bool
	}{
		{"zero", Config{}, true},
		{"default", DefaultConfig(), true},
		{"limits", Config{BatchPages: MaxBatchPages, Pause: MaxPause, Retries: MaxRetries, RetryPause: MaxRetryPause}, true},
		{"negative batch", Config{BatchPages: -1}, false},
		{"large batch", Config{BatchPages: MaxBatchPages + 1}, false},
		{"negative pause", Config{Pause: -1}, false},
		{"long pause", Config{Pause: MaxPause + 1}, false},
		{"negative retries", Config{Retries: -1}, false},
		{"many retries", Config{Retries: MaxRetries + 1}, false},
		{"negative retry pause", Config{RetryPause: -1}, false},
		{"long retry pause", Config{RetryPause: MaxRetryPause + 1}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(Linux{}, tt.cfg); (err == nil) != tt.ok {
				t.Errorf("New(%+v): %v", tt.cfg, err)
			}
		})
	}
}

// The work for each page neither allocates nor grows with the length of the list.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			moves := make([]Move, n)
			for i := range moves {
				moves[i] = Move{Addr: uint64(i+1) * page, Size: page, To: 1}
			}
			m, err := New(acceptingKernel{}, Config{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Run(b.Context(), Target{PID: 7, Alive: alive}, moves, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/page")
		})
	}
}

// acceptingKernel moves everything at no cost and then finds it on node 0.
type acceptingKernel struct{}

func (acceptingKernel) MovePages(_ int, _ []uint64, nodes, status []int32, _ int) (int, error) {
	if nodes == nil {
		clear(status)
	} else {
		copy(status, nodes)
	}
	return 0, nil
}
