package linux

import "testing"

func TestLoopbackUp(t *testing.T) {
	// It is up already; setting that again needs the same permission.
	if err := LoopbackUp(); err != nil && !IsPermission(err) {
		t.Errorf("LoopbackUp() = %v, want nil or a refusal", err)
	}
}
