package agent

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"numa-agent/mover"
	"numa-agent/sampler"
)

// Where heat is sampled from.
const (
	SourceAuto   = "auto" // memory
	SourceMemory = "memory"
	SourceFreq   = "freq"
)

// AutoHome leaves it to the main thread which node is home.
const AutoHome = -1

// Config says which server to work on and how.
type Config struct {
	// Addr is where the server listens: redis://, rediss:// or unix:// URL,
	// host:port, or the path of a socket. With PID 0 and Addr empty, the one
	// server that runs on this machine is meant.
	Addr     string
	Username string
	Password string
	PID      int

	Source        string        // SourceAuto, SourceMemory or SourceFreq
	MaxRedisShare float64       // most of the server's time that sampling by commands takes, 0–1
	LogFactor     float64       // the server's lfu-log-factor
	Decay         time.Duration // the server's lfu-decay-time

	HomeNode   int     // node to bring pages to, or AutoHome
	Budget     Budget  // most memory to move in one cycle
	UntilShare float64 // local heat share that is enough, 0–1; 0: no limit
	Mover      mover.Config
}

// DefaultConfig returns the configuration to start from.
func DefaultConfig() Config {
	return Config{
		Source:        SourceAuto,
		MaxRedisShare: 0.05,
		LogFactor:     sampler.DefaultLogFactor,
		Decay:         sampler.DefaultDecay,
		HomeNode:      AutoHome,
		Budget:        Budget{share: 0.1},
		Mover:         mover.DefaultConfig(),
	}
}

func (c Config) validate() error {
	switch {
	case c.Source != SourceAuto && c.Source != SourceMemory && c.Source != SourceFreq:
		return fmt.Errorf("%w: source %q: want %s, %s or %s", ErrUsage, c.Source, SourceAuto, SourceMemory, SourceFreq)
	case !(c.MaxRedisShare > 0 && c.MaxRedisShare <= 1):
		return fmt.Errorf("%w: share of the server's time %v: want above 0, at most 1", ErrUsage, c.MaxRedisShare)
	case !(c.UntilShare >= 0 && c.UntilShare <= 1):
		return fmt.Errorf("%w: local heat share to reach %v: want 0 to 1", ErrUsage, c.UntilShare)
	case !(c.LogFactor >= 0 && c.LogFactor <= math.MaxInt32):
		return fmt.Errorf("%w: LFU log factor %v: want 0 or more", ErrUsage, c.LogFactor)
	case c.Decay < 0:
		return fmt.Errorf("%w: LFU decay time %v: want 0 or more", ErrUsage, c.Decay)
	case c.PID < 0:
		return fmt.Errorf("%w: pid %d", ErrUsage, c.PID)
	case c.HomeNode < AutoHome:
		return fmt.Errorf("%w: home node %d", ErrUsage, c.HomeNode)
	}
	if _, err := mover.New(mover.Linux{}, c.Mover); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return nil
}

// Budget is how much memory may be moved: a number of bytes, a share of the
// target's resident memory, or all of it.
type Budget struct {
	bytes uint64
	share float64 // used when bytes is 0
}

// ParseBudget reads "64MiB", "5%" or "all". Units are B, KiB, MiB, GiB and
// TiB (also as K, M, G, T).
func ParseBudget(s string) (Budget, error) {
	text := strings.TrimSpace(s)
	if text == "all" {
		return Budget{share: 1}, nil
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n > 0 && n <= 100) {
			return Budget{}, fmt.Errorf("%w: budget %q: want above 0%%, at most 100%%", ErrUsage, s)
		}
		return Budget{share: n / 100}, nil
	}
	digits := strings.TrimRight(text, "BKMGTibkmgt")
	unit, known := map[string]float64{"": 1, "b": 1,
		"k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20,
		"g": 1 << 30, "gib": 1 << 30, "t": 1 << 40, "tib": 1 << 40,
	}[strings.ToLower(text[len(digits):])]
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || !known || !(n*unit >= 1 && n*unit < 1<<62) {
		return Budget{}, fmt.Errorf("%w: budget %q: want bytes such as 64MiB, a percentage such as 5%%, or all", ErrUsage, s)
	}
	return Budget{bytes: uint64(n * unit)}, nil
}

// Bytes is the budget for a target of resident bytes.
func (b Budget) Bytes(resident uint64) uint64 {
	if b.bytes > 0 {
		return b.bytes
	}
	return uint64(b.share * float64(resident))
}

// String writes the budget as ParseBudget reads it.
func (b Budget) String() string {
	switch {
	case b.bytes > 0:
		return strconv.FormatUint(b.bytes, 10) + "B"
	case b.share == 1:
		return "all"
	}
	return strconv.FormatFloat(b.share*100, 'g', -1, 64) + "%"
}

// Set and Type make a Budget a flag.
func (b *Budget) Set(s string) (err error) {
	*b, err = ParseBudget(s)
	return err
}

// Type is the name of the flag's value in help texts.
func (b *Budget) Type() string { return "size" }
