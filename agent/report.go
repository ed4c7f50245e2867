package agent

import (
	"strconv"

	"numa-agent/mover"
	"numa-agent/policy"
	"numa-agent/sampler"
)

// Report is what a cycle found, planned and did: the output of plan and
// rebalance. Bytes, seconds, pages; shares from 0 to 1; nodes are string keys.
type Report struct {
	Schema string       `json:"schema"`
	DryRun bool         `json:"dry_run"`
	Target TargetReport `json:"target"`
	// Notes say in words what else an operator should know, such as why there
	// is nothing to do.
	Notes  []string      `json:"notes"`
	Sample *SampleReport `json:"sample,omitempty"`
	Before *Placement    `json:"before,omitempty"`
	Plan   *PlanReport   `json:"plan,omitempty"`
	Result *ResultReport `json:"result,omitempty"` // not in a dry run
	After  *Placement    `json:"after,omitempty"`  // not in a dry run
}

// Schema is the name and version of the format of Report.
const Schema = "numa-agent/rebalance/v1"

// TargetReport identifies the server.
type TargetReport struct {
	PID            int    `json:"pid"`
	Server         string `json:"server"` // "redis" or "valkey"
	Version        string `json:"version"`
	RunID          string `json:"run_id"`
	HomeNode       int    `json:"home_node"`
	HomeReason     string `json:"home_reason"`
	MainThreadNode int    `json:"main_thread_node"` // at the last look
}

// SampleReport is what was sampled.
type SampleReport struct {
	Source          string            `json:"source"`
	Policy          string            `json:"policy"` // the server's maxmemory-policy
	Keys            uint64            `json:"keys"`
	VanishedKeys    uint64            `json:"vanished_keys"`
	HotPages        int               `json:"hot_pages"`
	DurationSeconds float64           `json:"duration_seconds"`
	Anomalies       map[string]uint64 `json:"anomalies,omitempty"` // met in the server's memory, by kind
	Hottest         []KeyLine         `json:"hottest"`
}

// KeyLine is one hot key.
type KeyLine struct {
	DB       int     `json:"db"`
	Key      string  `json:"key"` // bytes that are not UTF-8 are escaped as \xNN
	Type     string  `json:"type"`
	Encoding string  `json:"encoding"`
	Rate     float64 `json:"accesses_per_second"`
	Hotness  int     `json:"hotness"` // 0–7
}

// Placement is where the target's memory lies.
type Placement struct {
	BytesByNode    map[int]uint64 `json:"bytes_by_node"`
	LocalHeatShare float64        `json:"local_heat_share"`
}

// PlanReport is what was chosen to move.
type PlanReport struct {
	Pages          int                   `json:"pages"`
	Bytes          uint64                `json:"bytes"`
	BudgetBytes    uint64                `json:"budget_bytes"`
	LocalHeatShare float64               `json:"local_heat_share"` // once all are moved
	Skipped        map[policy.Reason]int `json:"skipped"`          // pages, by reason
}

// ResultReport is what became of the planned pages.
type ResultReport struct {
	MovedPages         int            `json:"moved_pages"`
	MovedBytes         uint64         `json:"moved_bytes"`
	AlreadyTherePages  int            `json:"already_there_pages"`
	FailedPages        map[string]int `json:"failed_pages"` // by errno
	RetriedPages       int            `json:"retried_pages"`
	Calls              int            `json:"calls"`
	LongestCallSeconds float64        `json:"longest_call_seconds"`
	DurationSeconds    float64        `json:"duration_seconds"`
}

func planReport(p policy.Plan, budget uint64) *PlanReport {
	return &PlanReport{Pages: p.Pages, Bytes: p.Bytes, BudgetBytes: budget, LocalHeatShare: p.ShareAfter, Skipped: p.Skipped}
}

func resultReport(r mover.Result) *ResultReport {
	return &ResultReport{
		MovedPages:         r.MovedPages,
		MovedBytes:         r.MovedBytes,
		AlreadyTherePages:  r.AlreadyThere,
		FailedPages:        r.Failed,
		RetriedPages:       r.Retried,
		Calls:              r.Calls,
		LongestCallSeconds: r.LongestCall.Seconds(),
		DurationSeconds:    r.Duration.Seconds(),
	}
}

// follow makes r, the report of a later cycle, tell of both cycles.
func (r *Report) follow(earlier *Report) {
	r.Before = earlier.Before
	if r.Result == nil || earlier.Result == nil {
		return
	}
	sum, add := r.Result, earlier.Result
	sum.MovedPages += add.MovedPages
	sum.MovedBytes += add.MovedBytes
	sum.AlreadyTherePages += add.AlreadyTherePages
	sum.RetriedPages += add.RetriedPages
	sum.Calls += add.Calls
	sum.LongestCallSeconds = max(sum.LongestCallSeconds, add.LongestCallSeconds)
	sum.DurationSeconds += add.DurationSeconds
	for name, n := range add.FailedPages {
		sum.FailedPages[name] += n
	}
	r.Plan.Pages += earlier.Plan.Pages
	r.Plan.Bytes += earlier.Plan.Bytes
}

func sampleReport(s *sampler.Sample, policy string) *SampleReport {
	r := &SampleReport{Source: s.Source, Policy: policy, Keys: s.Keys, VanishedKeys: s.Vanished,
		DurationSeconds: s.Duration.Seconds(), Anomalies: make(map[string]uint64), Hottest: make([]KeyLine, len(s.Hottest))}
	for anomaly, n := range s.Anomalies {
		r.Anomalies[anomaly.String()] = n
	}
	for i, k := range s.Hottest {
		r.Hottest[i] = KeyLine{DB: k.DB, Key: Printable(k.Key), Type: k.Type.String(), Encoding: k.Encoding.String(),
			Rate: k.Rate, Hotness: sampler.Hotness(k.Rate)}
	}
	return r
}

// Printable writes a key so that it can be printed and pasted back into
// redis-cli: what is not printable UTF-8 becomes \xNN.
func Printable(key string) string {
	quoted := strconv.Quote(key)
	return quoted[1 : len(quoted)-1]
}
