package agent

import (
	"errors"
	"testing"
)

func TestParseBudget(t *testing.T) {
	const resident = 1 << 30
	for text, want := range map[string]uint64{
		"64MiB": 64 << 20, "64M": 64 << 20, "1.5GiB": 3 << 29, "4096": 4096, "10B": 10, "2 KiB": 2048, "1TiB": 1 << 40,
		"50%": resident / 2, "100%": resident, "all": resident, " 64MiB ": 64 << 20,
	} {
		b, err := ParseBudget(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := b.Bytes(resident); got != want {
			t.Errorf("%q is %d bytes, want %d", text, got, want)
		}
		again, err := ParseBudget(b.String())
		if err != nil || again != b {
			t.Errorf("%q writes itself as %q, which reads as %v (%v)", text, b.String(), again, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "0%", "101%", "x", "64XB", "MiB", "NaN", "NaN%", "Inf", "1e300GiB", "0.1B"} {
		if b, err := ParseBudget(text); !errors.Is(err, ErrUsage) {
			t.Errorf("%q reads as %v (%v), want a usage error", text, b, err)
		}
	}
}

func FuzzParseBudget(f *testing.F) {
	f.Add("64MiB")
	f.Add("5%")
	f.Add("all")
	f.Add("1e9G")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBudget(s)
		if err == nil && b.Bytes(1<<40) == 0 && b.share == 0 {
			t.Errorf("%q is a budget of nothing", s)
		}
	})
}
