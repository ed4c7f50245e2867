package policy

import (
	"errors"
	"strings"
	"testing"

	"numa-agent/topology"
)

func TestHomeNode(t *testing.T) {
	for _, tt := range []struct {
		name   string
		looks  []int
		pinned topology.IDSet
		node   int
		why    HomeReason
	}{
		{"pinned", []int{0, 1, 0}, topology.NewIDSet(1), 1, HomeAffinity},
		{"pinned, never looked at", nil, topology.NewIDSet(3), 3, HomeAffinity},
		{"all agree", []int{1, 1, 1}, topology.NewIDSet(0, 1), 1, HomeStable},
		{"all agree, affinity unknown", []int{2}, topology.IDSet{}, 2, HomeStable},
		{"four of five, and the last", []int{0, 1, 0, 0, 0}, topology.NewIDSet(0, 1), 0, HomeMajority},
		{"an unknown look is no agreement", []int{0, -1, 0, 0, 0}, topology.NewIDSet(0, 1), 0, HomeMajority},
		{"four of five, but not the last", []int{0, 0, 0, 0, 1}, topology.NewIDSet(0, 1), -1, ""},
		{"three of four", []int{1, 0, 0, 0}, topology.NewIDSet(0, 1), -1, ""},
		{"never seen", []int{-1, -1}, topology.NewIDSet(0, 1), -1, ""},
		{"never looked at", nil, topology.NewIDSet(0, 1), -1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node, why, err := HomeNode(tt.looks, tt.pinned)
			if node != tt.node || why != tt.why {
				t.Errorf("HomeNode = %d, %q, want %d, %q", node, why, tt.node, tt.why)
			}
			if (tt.node < 0) != errors.Is(err, ErrUnstableHome) {
				t.Errorf("HomeNode: %v", err)
			}
		})
	}
}

func TestHomeNodeNamesWhatWasSeen(t *testing.T) {
	_, _, err := HomeNode([]int{0, 1, -1}, topology.IDSet{})
	for _, want := range []string{"[0 1 -1]", "--home-node"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("HomeNode: %v, want it to say %s", err, want)
		}
	}
}

func TestReserveBytes(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct{ total, want uint64 }{
		{0, 0},
		{128 * mib, 32 * mib},
		{256 * mib, 64 * mib},
		{1024 * mib, 64 * mib},
		{3200 * mib, 64 * mib},
		{6400 * mib, 128 * mib},
		{256 << 30, 256 << 30 / 50},
	} {
		if got := ReserveBytes(tt.total); got != tt.want {
			t.Errorf("ReserveBytes(%d) = %d, want %d", tt.total, got, tt.want)
		}
	}
}
