package topology

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStatus(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Process
		fails      bool
	}{
		{name: "all fields", text: "Name:\tredis-server\nUid:\t999\t998\t997\t996\nGid:\t1\t2\t3\t4294967295\nNSpid:\t4711\t7\nCpus_allowed_list:\t0-1,4\nMems_allowed_list:\t1\n",
			want: Process{UIDs: IDs{999, 998, 997, 996}, GIDs: IDs{1, 2, 3, 4294967295}, NSPIDs: []int{4711, 7},
				AllowedCPUs: NewIDSet(0, 1, 4), AllowedNodes: NewIDSet(1)}},
		{name: "as many groups as the kernel allows", text: "Groups:\t" + strings.Repeat("4294967295 ", 65536) + "\nNSpid:\t1\n",
			want: Process{NSPIDs: []int{1}}},
		{name: "three ids", text: "Uid:\t1\t2\t3\n", fails: true},
		{name: "negative id", text: "Gid:\t1\t2\t3\t-1\n", fails: true},
		{name: "no list", text: "Mems_allowed_list:\tx\n", fails: true},
		{name: "endless line", text: "Groups:\t" + strings.Repeat("1", maxStatusLine), fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got Process
			err := parseStatus(strings.NewReader(tt.text), &got)
			if (err != nil) != tt.fails {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); !tt.fails && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIsServerByName(t *testing.T) {
	// What other programs are told is not what makes a Sentinel.
	p := Process{Comm: "haproxy", Exe: "/usr/sbin/haproxy", Cmdline: []string{"haproxy", "--sentinel"}}
	if p.IsServer() || p.IsSentinel() {
		t.Errorf("%+v is a server or a Sentinel", p)
	}
}
