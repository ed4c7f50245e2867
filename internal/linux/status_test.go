package linux

import (
	"errors"
	"fmt"
	"testing"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int32
	}{
		{"errno", ENODEV, -19},
		{"wrapped errno", fmt.Errorf("moving: %w", ESRCH), -3},
		{"other error", errors.New("other"), StatusUnset},
		{"nil", nil, StatusUnset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Status(tt.err); got != tt.want {
				t.Errorf("Status(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}
