package topology

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestParseIDSet(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "\n": nil, "0": {0}, "0-3,8\n": {0, 1, 2, 3, 8}, "5,1,3-4,4": {1, 3, 4, 5}, "65535": {65535},
	} {
		got, err := ParseIDSet(text)
		if err != nil || !slices.Equal(got.IDs(), want) {
			t.Errorf("%q is %v (%v), want %v", text, got.IDs(), err, want)
		}
	}
	for _, text := range []string{"x", "-1", "1-", "3-1", "1,,2", "65536", "0-99999999999", "1 2", "0-65535,0-65535"} {
		if got, err := ParseIDSet(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestIDSet(t *testing.T) {
	s := NewIDSet(8, 0, 2, 1, 1)
	if s.String() != "0-2,8" || s.Len() != 4 || !s.Contains(8) || s.Contains(3) {
		t.Errorf("%v", s)
	}
	text, err := json.Marshal(s)
	var back IDSet
	if err != nil || json.Unmarshal(text, &back) != nil || !back.Equal(s) {
		t.Errorf("%s reads back as %v (%v)", text, back, err)
	}
}

func FuzzParseIDSet(f *testing.F) {
	f.Add("0-3,8")
	f.Add("65535,0-65534")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseIDSet(text)
		if err != nil {
			return
		}
		again, err := ParseIDSet(s.String())
		if err != nil || !again.Equal(s) {
			t.Errorf("%q is %v, written %q, read %v (%v)", text, s.IDs(), s, again.IDs(), err)
		}
	})
}
