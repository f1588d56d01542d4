package endpoints

import (
	"fmt"
	"testing"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

func voter(n int, h etcd.Health) observe.Member {
	return observe.Member{
		Member:    etcd.Member{ID: uint64(n), Name: fmt.Sprint("cp-", n), Health: h}, //nolint:gosec // small
		ClientURL: fmt.Sprintf("https://10.0.0.%d:2379", n),
	}
}

func TestDecide(t *testing.T) {
	url := func(ns ...int) []string {
		var out []string
		for _, n := range ns {
			out = append(out, voter(n, 0).ClientURL)
		}
		return out
	}
	learner := voter(4, etcd.Healthy)
	learner.Learner = true
	corrupt := voter(3, etcd.Healthy)
	corrupt.Corrupt = true
	list := func(ms ...observe.Member) observe.Membership { return observe.Membership{Listed: true, Members: ms} }
	h, u, d := etcd.Healthy, etcd.Unknown, etcd.Unhealthy
	for _, tt := range []struct {
		name        string
		m           observe.Membership
		standBack   string
		published   []string
		keep        bool
		want        []string
		unconfirmed int
	}{
		{"all healthy", list(voter(1, h), voter(2, h), voter(3, h)), "", nil, false, url(1, 2, 3), 0},
		{"a learner serves no linearizable read", list(voter(1, h), learner), "", nil, false, url(1), 0},
		{"I23 one unknown that is published stays", list(voter(1, h), voter(2, u)), "", url(1, 2), false, url(1, 2), 1},
		{"one unknown that never was is not published", list(voter(1, h), voter(2, u)), "", url(1), false, url(1), 0},
		{"one that is down goes", list(voter(1, h), voter(2, d)), "", url(1, 2), false, url(1), 0},
		{"a corrupt one goes", list(voter(1, h), corrupt), "", url(1, 3), false, url(1), 0},
		{"a removed one goes", list(voter(1, h)), "", url(1, 2), false, url(1), 0},
		{"the last one never goes", list(voter(1, d)), "", url(1), true, nil, 0},
		{"I23 nobody gave a list", observe.Membership{}, "", url(1, 2, 3), true, nil, 0},
		{"P17 a recovery is open", list(voter(1, h)), "recovery r is open", url(1, 2, 3), true, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.m, tt.standBack, tt.published)
			var urls []string
			unconfirmed := 0
			for _, p := range got.Members {
				urls = append(urls, p.URL)
				if p.Unconfirmed {
					unconfirmed++
				}
			}
			if got.Keep != tt.keep || fmt.Sprint(urls) != fmt.Sprint(tt.want) || unconfirmed != tt.unconfirmed {
				t.Errorf("%+v", got)
			}
			if (got.Keep || unconfirmed > 0) && got.Reason == "" {
				t.Error("it does not say why")
			}
		})
	}
}
