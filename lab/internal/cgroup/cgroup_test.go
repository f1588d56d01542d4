package cgroup

import (
	"reflect"
	"strings"
	"testing"
)

const hybrid = `30 25 0:26 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 30 0:27 / /var/lib/other/cpu rw,relatime - cgroup cgroup rw,cpu
`

func TestParse(t *testing.T) {
	for _, row := range []struct {
		name, in, refusal string
		want              []Hierarchy
	}{
		{name: "hybrid", in: hybrid, want: []Hierarchy{
			{"/sys/fs/cgroup/cpu", "cgroup", "cpu"},
			{"/sys/fs/cgroup/cpuset", "cgroup", "cpuset"},
			{"/sys/fs/cgroup/systemd", "cgroup", "none,name=systemd"},
			{"/sys/fs/cgroup/unified", "cgroup2", ""},
		}},
		{name: "v2 alone", in: "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", want: []Hierarchy{{"/sys/fs/cgroup", "cgroup2", ""}}},
		{name: "no hierarchy of systemd's", in: strings.ReplaceAll(hybrid, "name=systemd", "name=other"), refusal: "named systemd"},
		{name: "nothing mounted", in: "", refusal: "named systemd"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := parse(row.in)
			if row.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), row.refusal) {
					t.Fatalf("error %v; want one about %q", err, row.refusal)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, row.want) {
				t.Errorf("parse = %v, %v; want %v", got, err, row.want)
			}
		})
	}
}
