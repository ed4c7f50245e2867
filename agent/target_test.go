package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseInfo(t *testing.T) {
	const redis7 = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nprocess_id:42\r\nrun_id:abc\r\nuptime_in_seconds:90\r\n" +
		"# Memory\r\nmaxmemory_policy:allkeys-lfu\r\n# Persistence\r\nloading:0\r\nrdb_bgsave_in_progress:0\r\naof_rewrite_in_progress:1\r\n" +
		"# Keyspace\r\ndb0:keys=10,expires=0,avg_ttl=0\r\ndb15:keys=1,expires=0,avg_ttl=0\r\n"
	const valkey8 = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nserver_mode:sentinel\r\n"
	info, mode := parseInfo(redis7)
	want := Info{Server: "redis", Version: "7.0.15", RunID: "abc", ProcessID: 42, Policy: "allkeys-lfu", Uptime: 90 * time.Second,
		Child: true, Databases: []int{0, 15}}
	if diff := cmp.Diff(want, info); diff != "" || mode != "standalone" {
		t.Errorf("mode %q: %s", mode, diff)
	}
	info, mode = parseInfo(valkey8)
	if info.Server != "valkey" || info.Version != "8.0.1" || mode != "sentinel" {
		t.Errorf("valkey: %+v, mode %q", info, mode)
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add("db0:keys=1\r\nuptime_in_seconds:99999999999999999999\r\n")
	f.Add("db-1:keys=1\ndb4294967296:keys=1")
	f.Fuzz(func(t *testing.T, text string) {
		info, _ := parseInfo(text)
		if info.Uptime < 0 || info.Server == "" && !strings.Contains(text, "server_name") {
			t.Errorf("%+v", info)
		}
		for _, db := range info.Databases {
			if db < 0 {
				t.Errorf("database %d", db)
			}
		}
	})
}

func TestRedact(t *testing.T) {
	for addr, want := range map[string]string{
		"redis://user:secret@host:6379/0": "redis://…@host:6379/0",
		"redis://:p@ss@host":              "redis://…@host",
		"default:se cret@host:6379":       "…@host:6379",
	} {
		if got := redact(addr); got != want {
			t.Errorf("redact(%q) = %q, want %q", addr, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for key, want := range map[string]string{"plain": "plain", "a\x00b": `a\x00b`, "ü": "ü", "\xff": `\xff`, `a"b\`: `a\"b\\`, "\u200b\v": `\xe2\x80\x8b\x0b`} {
		if got := Printable(key); got != want {
			t.Errorf("Printable(%q) = %s, want %s", key, got, want)
		}
		if back, err := ParsePrintable(want); back != key || err != nil {
			t.Errorf("ParsePrintable(%s) = %q, %v", want, back, err)
		}
	}
}

func TestAddressErrorsHidePasswords(t *testing.T) {
	for _, addr := range []string{"redis://user:secret@ho st:6379", "http://:secret@host", "redis://:secret@host/x/y", "redis://:secret/x@host", "redis://:12345/secret@host", "redis://:secret#ret@host", "default:se secret@host:6379"} {
		_, err := redisOptions(Config{Addr: addr})
		if err == nil {
			t.Errorf("%q is taken", addr)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
