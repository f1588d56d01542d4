package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Policies are several, of which a backup stays that any keeps.
type Policies []Policy

// ParsePolicies reads one in JSON, or a list of them. A rule that is not known here is refused and not passed over: what
// it would keep would be removed.
func ParsePolicies(b []byte) (Policies, error) {
	var ps Policies
	b = bytes.TrimSpace(b)
	if !bytes.HasPrefix(b, []byte("[")) {
		b = slices.Concat([]byte("["), b, []byte("]"))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&ps); err != nil {
		return nil, fmt.Errorf("retention: it cannot be read, so nothing is removed by it: %w", err)
	}
	if d.More() {
		return nil, errors.New("retention: something follows it")
	}
	if len(ps) == 0 {
		return nil, errors.New("retention: there is none in it")
	}
	for _, p := range ps {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// Retain decides as Retain does for each, and removes only what every one of them would remove.
func (ps Policies) Retain(c Catalogue, now time.Time) Decision {
	if len(ps) == 0 {
		return Retain(c, Policy{}, now)
	}
	d := Retain(c, ps[0], now)
	for _, p := range ps[1:] {
		other := Retain(c, p, now)
		var remove []Verdict
		for _, v := range d.Remove {
			if i := slices.IndexFunc(other.Keep, func(k Verdict) bool { return k.ID == v.ID }); i >= 0 {
				d.Keep = append(d.Keep, other.Keep[i])
				continue
			}
			remove = append(remove, v)
		}
		d.Remove = remove
	}
	if len(ps) > 1 {
		slices.SortFunc(d.Keep, func(a, b Verdict) int { return strings.Compare(b.ID, a.ID) })
	}
	return d
}

// Own takes the backups of other clusters out of a catalogue, which a store may hold beside this cluster's, and says why
// each stays: they are not this cluster's to remove, and none of them stands in for one of its own (I18). In a store that
// is shared, what cannot be told whose it is stays too.
func Own(c Catalogue, ours func(clusterID string) bool) (Catalogue, []Verdict) {
	var own Catalogue
	var keep []Verdict
	foreign := func(e Entry) bool { return e.Good() && !ours(e.Manifest.Cluster.ClusterID) }
	if !slices.ContainsFunc(c.Entries, foreign) {
		return c, nil
	}
	for _, e := range c.Entries {
		switch {
		case foreign(e):
			keep = append(keep, Verdict{ID: e.ID, Reason: "it is of another cluster: " + e.Manifest.Cluster.ClusterID})
		case !e.Good():
			keep = append(keep, Verdict{ID: e.ID, Reason: "other clusters' backups are in this store, and whose it is cannot be told: " + e.Problem})
		default:
			own.Entries = append(own.Entries, e)
		}
	}
	for _, u := range c.Unfinished {
		keep = append(keep, Verdict{ID: u.ID, Reason: "other clusters' backups are in this store, and whose it is cannot be told: it is not finished", Unfinished: true})
	}
	return own, keep
}
