package staticpod

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// ErrNoGuard is returned for a manifest without the guard: kubeadm has written it anew, or ceo was never put on the node.
var ErrNoGuard = errors.New("etcd's manifest has no guard: run `ceo node install` on this node first")

// RenderRevision renders a node's guarded manifest with a content applied, from the one that is there. What the content
// does not name stays: what kubeadm reads, the probes, the volumes, a person's own flags. Rendering twice gives the same.
func RenderRevision(manifest []byte, c Content) ([]byte, error) {
	return RenderRevisionAs(manifest, c, c.Hash())
}

// RenderRevisionAs is RenderRevision under another name: that of a former revision that comes back.
func RenderRevisionAs(manifest []byte, c Content, revision string) ([]byte, error) {
	pod, err := parseEtcd(manifest)
	if err != nil {
		return nil, err
	}
	if !IsGuarded(pod) {
		return nil, ErrNoGuard
	}
	have, err := ContentOf(pod)
	if err != nil {
		return nil, err
	}
	container := &pod.Spec.Containers[0]
	full := append(slices.Clone(container.Command), container.Args...)
	i := slices.Index(full, "--") + 1
	guard, etcd := full[:i:i], slices.Clone(full[i:])

	container.Image = c.image(have)
	if from, err := versionOfImage(have.Image); err == nil {
		if to, err := versionOfImage(container.Image); err == nil {
			etcd = translate(etcd, from, to)
		}
	}
	for _, f := range []struct {
		name       string
		want, have int64
	}{
		{quotaFlag, c.QuotaBytes, have.QuotaBytes},
		{heartbeatFlag, int64(c.HeartbeatMilliseconds), int64(have.HeartbeatMilliseconds)},
		{electionFlag, int64(c.ElectionMilliseconds), int64(have.ElectionMilliseconds)},
	} {
		// Etcd's own value needs no flag, and a flag that is right stays as it is written.
		if f.want != 0 && f.want != f.have {
			etcd = setFlag(etcd, f.name, strconv.FormatInt(f.want, 10))
		}
	}
	if !slices.Equal(full[i:], etcd) {
		container.Command, container.Args = append(guard, etcd...), nil
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[RevisionAnnotation] = revision
	if c.Reason != "" {
		pod.Annotations[ReasonAnnotation] = c.Reason
	}
	return marshal(pod)
}

// arg is one flag of a command line with its words.
type arg struct {
	name, value string
	// words it takes: 2 where the value is a word of its own.
	words int
}

// argAt reads the flag at i, as flagsOf does; false for a word that is none.
func argAt(args []string, i int) (arg, bool) {
	name, ok := strings.CutPrefix(args[i], "-")
	if !ok {
		return arg{words: 1}, false
	}
	a := arg{words: 1}
	var has bool
	a.name, a.value, has = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	if !has {
		a.value = "true"
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			a.value, a.words = args[i+1], 2
		}
	}
	return a, true
}

// setFlag sets a flag in its place, or at the end where it is not there. More of the same name go: the last would win.
func setFlag(args []string, name, value string) []string {
	return replaceFlag(args, name, []string{"--" + name + "=" + value}, true)
}

// replaceFlag puts words in the place of a flag's first occurrence and takes the others out; at the end where there is
// none, if it is to be added.
func replaceFlag(args []string, name string, by []string, add bool) []string {
	out := args[:min(1, len(args)):min(1, len(args))]
	done := false
	for i := 1; i < len(args); {
		a, ok := argAt(args, i)
		switch {
		case !ok || a.name != name:
			out = append(out, args[i:i+a.words]...)
		case !done:
			out, done = append(out, by...), true
		}
		i += a.words
	}
	if !done && add {
		out = append(out, by...)
	}
	return out
}
