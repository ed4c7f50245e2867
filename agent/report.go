package agent

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

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
	Notes []string `json:"notes"`
	// Nil is what the cycle did not come to.
	Sample *SampleReport `json:"sample"`
	Before *Placement    `json:"before"`
	Plan   *PlanReport   `json:"plan"`
	Result *ResultReport `json:"result"`
	After  *Placement    `json:"after"`
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

// Complete fills in what the cycle did not come to, so that programs find
// every field: zeros, and after as before.
func (r *Report) Complete() {
	if r.Sample == nil {
		r.Sample = &SampleReport{Hottest: []KeyLine{}}
	}
	if r.Before == nil {
		r.Before = &Placement{BytesByNode: map[int]uint64{}}
	}
	if r.Plan == nil {
		r.Plan = planReport(policy.Plan{Skipped: map[policy.Reason]int{}, ShareAfter: r.Before.LocalHeatShare}, 0)
	}
	if r.Result == nil {
		r.Result = resultReport(mover.Result{})
	}
	if r.After == nil {
		r.After = r.Before
	}
}

func planReport(p policy.Plan, budget uint64) *PlanReport {
	return &PlanReport{Pages: p.Pages, Bytes: p.Bytes, BudgetBytes: budget, LocalHeatShare: p.ShareAfter, Skipped: p.Skipped}
}

func resultReport(r mover.Result) *ResultReport {
	if r.Failed == nil {
		r.Failed = map[string]int{}
	}
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
	if r.Plan == nil || r.Result == nil { // it failed before it moved anything
		r.Sample, r.Plan, r.Result, r.After = earlier.Sample, earlier.Plan, earlier.Result, earlier.After
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

// Printable writes a key so that it can be printed, and pasted between double
// quotes into redis-cli: quote and backslash are escaped, and the bytes of what
// is not printable UTF-8 become \xNN.
func Printable(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); {
		r, size := utf8.DecodeRuneInString(key[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, c := range []byte(key[i : i+size]) {
				fmt.Fprintf(&b, "\\x%02x", c)
			}
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// ParsePrintable undoes Printable.
func ParsePrintable(text string) (string, error) {
	key, err := strconv.Unquote(`"` + text + `"`)
	if err != nil {
		return "", fmt.Errorf("%w: key %q: bad escape", ErrUsage, text)
	}
	return key, nil
}
