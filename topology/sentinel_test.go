package topology

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"numa-agent/internal/redistest"
)

func TestSentinel(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]bool{redistest.Start(t).PID: false, redistest.StartSentinel(t, conf).PID: true} {
		p, err := DefaultFS().Process(pid)
		if err != nil {
			t.Fatal(err)
		}
		if !p.IsServer() || p.IsSentinel() != want {
			t.Errorf("%+v: server %t, Sentinel %t, want %t", p, p.IsServer(), p.IsSentinel(), want)
		}
	}
	// As it starts, before it has given itself a title.
	p := Process{Comm: "redis-server", Cmdline: []string{"redis-server", conf, "--sentinel"}}
	if !p.IsSentinel() {
		t.Error("a server started with --sentinel is no Sentinel")
	}
}

func TestProcessFake(t *testing.T) {
	got, err := fakeTree(t, map[string]string{
		"100/stat":    procStat(100, 4711),
		"100/status":  "Uid:\t999\t999\t999\t999\nGid:\t7\t7\t7\t7\nNSpid:\t100\t1\nCpus_allowed_list:\t0-1\nMems_allowed_list:\t0\n",
		"100/cmdline": "redis-server\x00*:6379\x00",
	}, map[string]string{"100/exe": "/usr/bin/redis-server (deleted)"}).Process(100)
	if err != nil {
		t.Fatal(err)
	}
	ids := func(id int) IDs { return IDs{id, id, id, id} }
	want := Process{PID: 100, PPID: 1, StartTicks: 4711, Comm: "redis-server", Exe: "/usr/bin/redis-server (deleted)",
		Cmdline: []string{"redis-server", "*:6379"}, UIDs: ids(999), GIDs: ids(7), NSPIDs: []int{100, 1},
		AllowedCPUs: NewIDSet(0, 1), AllowedNodes: NewIDSet(0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
