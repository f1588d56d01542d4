package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/bench/storage/measure"
)

var update = flag.Bool("update", false, "write the golden files anew")

func example() Report {
	d := Database{Name: "1 GB", Info: dataset.Info{Size: 1e9, Keys: 93_000, Entries: 204_000, Revision: 245_000, Compacted: 123_000, Leases: 25, Free: 0.104}, Stored: 300e6}
	for i := range 3 {
		s := func(seconds float64, own, written int64) measure.Sample {
			return measure.Sample{Seconds: seconds + float64(i)/100, CPU: seconds / 2, Own: own, Peak: own + 10e6, Written: written}
		}
		d.add(restoring, byCopy, s(0.6, 1e6, 1e9))
		d.add(starting, asItWas, s(0.8, 100e6, 0))
		d.add(restoring, byEtcdutl, s(1.9, 17e6, 1.002e9))
		d.add(restoring, byCeo, s(0.86, 40e6, 1.06e9))
		d.add(starting, byCeo, s(0.82, 100e6, 0))
		d.add(saving, byEtcdctl, s(3, 20e6, 1e9))
		d.add(saving, byBackup, s(2, 151e6, 300.1e6))
		d.add(limits, byWrite, s(0.5, 2e6, 1e9))
		d.add(limits, byHash, s(0.7, 2e6, 0))
		d.add(loading(inFolder), byDownload, s(0.1, 2e6, 0))
		d.add(loading(inFolder), byCeo, s(0.9, 60e6, 1e9))
		d.add(loading(inFolder), afterLast, measure.Sample{Seconds: 0.05})
	}
	small := Database{Name: "100 MB", Info: dataset.Info{Size: 1e8}}
	small.add(saving, byEtcdctl, measure.Sample{Seconds: 12.34})
	m := Machine{Cores: 2, CPU: "Some CPU", SHA: true, Memory: 24 << 30, Kernel: "6.18.1", FileSystem: "ext4", Etcd: "3.7.3", Go: "1.26.8", Ceo: "ceo v1"}
	return Report{Machine: m, Rounds: 3, Databases: []Database{small, d}}
}

func TestMarkdown(t *testing.T) {
	got := example().Markdown()
	golden := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGoals(t *testing.T) {
	d := example().Databases[1]
	for _, row := range []struct {
		name    string // as the goals begin
		limit   string
		got     float64
		reached bool
	}{
		{"local restore", "≤ 0.5 × etcdutl snapshot restore", 0.87 / 1.91, true},
		{"the same", "≤ 1.4 × cp + fsync", 0.87 / 0.61, false},
		{"bytes written by it", "≤ 1 × the database", 1.06, false},
		{"its own memory", "≤ 200 MB", 40, true},
		{"no temporary copy", "≤ 1 × what is stored", 300.1 / 300, true},
		{loading(inFolder) + ": end to end", "≤ 1.1 × max(download, write + fsync of the database, SHA-256 of the database)", 0.91 / 0.71, false},
		{loading(inFolder) + ": work left", "≤ 0.15 × etcdutl snapshot restore", 0.05 / 1.91, true},
	} {
		for _, g := range goals {
			if !strings.HasPrefix(g.name, row.name) {
				continue
			}
			got, reached, ok := g.outcome(d)
			if !ok || reached != row.reached || got < row.got-1e-9 || got > row.got+1e-9 || g.limit() != row.limit {
				t.Errorf("%s: %s: %v, %v, %v", g.name, g.limit(), got, reached, ok)
			}
			break
		}
	}
	for _, g := range goals {
		if _, _, ok := g.outcome(Database{}); ok {
			t.Errorf("%s: measured with nothing", g.name)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, row := range []struct {
		text string
		n    size
		back string
	}{{"100MB", 1e8, "100 MB"}, {" 1.5 GB", 15e8, "1.5 GB"}, {"4GB", 4e9, "4 GB"}, {"12kB", 12e3, "12 kB"}} {
		n, err := parseSize(row.text)
		if err != nil || n != row.n || n.String() != row.back {
			t.Errorf("%q: %d, %s, %v", row.text, n, n, err)
		}
	}
	for _, bad := range []string{"", "100", "GB", "-1GB", "1TB", "1e9GB", "NaNGB"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

func TestAfterLastByte(t *testing.T) {
	got, err := afterLastByte([]byte(`{"seconds": 2.5, "parts": [{"what": "read", "seconds": 2}, {"what": "rest", "seconds": 0.1}]}`))
	if err != nil || got != 0.5 {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "{}", `{"seconds": 1, "parts": [{"seconds": 2}, {"seconds": 1}]}`} {
		if _, err := afterLastByte([]byte(bad)); err == nil {
			t.Errorf("%q", bad)
		}
	}
}
