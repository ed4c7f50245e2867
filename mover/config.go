package mover

import (
	"fmt"
	"time"
)

// Defaults and limits of a Config.
const (
	DefaultBatchPages = 256
	MaxBatchPages     = 16384

	MaxPause = time.Minute

	DefaultRetries = 5
	MaxRetries     = 10

	DefaultRetryPause = time.Millisecond
	MaxRetryPause     = time.Second
)

// Config says how gently to move.
type Config struct {
	// BatchPages is how many 4 KiB pages one call moves at most; a larger page
	// counts as the small ones it holds, and one page always goes. A batch is
	// unmapped together, so the target may wait for a whole one: about 1.5 µs
	// for each page. From 1 to MaxBatchPages; 0 is DefaultBatchPages.
	BatchPages int

	// Pause is how long to rest after each call that moved pages. From 0, the
	// default, to MaxPause.
	Pause time.Duration

	// Retries is how often to try again the pages that were busy. From 0, no
	// retry, to MaxRetries.
	Retries int

	// RetryPause is how long to wait before the first retry; each further one
	// waits twice as long as the one before. Up to MaxRetryPause; 0 is
	// DefaultRetryPause.
	RetryPause time.Duration

	// Shared also moves pages that other processes map, such as those a
	// BGSAVE child shares with its parent (MPOL_MF_MOVE_ALL). It needs
	// CAP_SYS_NICE in the initial user namespace. Without it such pages fail
	// with EACCES.
	Shared bool
}

// DefaultConfig returns the configuration to start from.
func DefaultConfig() Config {
	return Config{
		BatchPages: DefaultBatchPages,
		Retries:    DefaultRetries,
		RetryPause: DefaultRetryPause,
	}
}

// withDefaults returns c with its defaults filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.BatchPages == 0 {
		c.BatchPages = DefaultBatchPages
	}
	if c.RetryPause == 0 {
		c.RetryPause = DefaultRetryPause
	}
	switch {
	case c.BatchPages < 1 || c.BatchPages > MaxBatchPages:
		return c, fmt.Errorf("batch of %d pages: want 1 to %d", c.BatchPages, MaxBatchPages)
	case c.Pause < 0 || c.Pause > MaxPause:
		return c, fmt.Errorf("pause of %v: want 0 to %v", c.Pause, MaxPause)
	case c.Retries < 0 || c.Retries > MaxRetries:
		return c, fmt.Errorf("%d retries: want 0 to %d", c.Retries, MaxRetries)
	case c.RetryPause < 0 || c.RetryPause > MaxRetryPause:
		return c, fmt.Errorf("retry pause of %v: want 0 to %v", c.RetryPause, MaxRetryPause)
	}
	return c, nil
}
