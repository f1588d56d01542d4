package staticpod

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clusteretcd.io/ceo/internal/etcd/upgrade"
)

// The annotations of a manifest that ceo has rendered for a revision.
const (
	// RevisionAnnotation names the revision. The kubelet gives it on to the pod's sandbox, so that the container runtime
	// can say which revision runs.
	RevisionAnnotation = "clusteretcd.io/revision"
	// ReasonAnnotation holds what the last forced redeployment was for.
	ReasonAnnotation = "clusteretcd.io/redeployment-reason"
)

// What etcd does where a flag is not given.
const (
	DefaultQuotaBytes            = 2 << 30
	DefaultHeartbeatMilliseconds = 100
	DefaultElectionMilliseconds  = 1000
)

const (
	quotaFlag     = "quota-backend-bytes"
	heartbeatFlag = "heartbeat-interval"
	electionFlag  = "election-timeout"
)

// Content is what a revision of etcd's static pod is made of: all that the cluster's specification decides about it. What
// is not set stays as the node has it, so that a specification which asks for nothing restarts nothing.
type Content struct {
	// Version of etcd. Without Image, a node whose image is of this version keeps it.
	Version string `json:"version,omitempty"`
	Image   string `json:"image,omitempty"`
	// QuotaBytes is --quota-backend-bytes.
	QuotaBytes            int64 `json:"quotaBytes,omitempty"`
	HeartbeatMilliseconds int32 `json:"heartbeatMilliseconds,omitempty"`
	ElectionMilliseconds  int32 `json:"electionMilliseconds,omitempty"`
	// Reason is spec.forceRedeploymentReason: nothing but a new text.
	Reason string `json:"forceRedeploymentReason,omitempty"`
}

// Hash names the revision: the beginning of the SHA-256 of its JSON.
func (c Content) Hash() string {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("a Content has no field that JSON cannot hold: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// Empty reports whether it asks for nothing.
func (c Content) Empty() bool { return c == Content{} }

var imageForm = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// ParseContent reads a content from its JSON and checks it: it comes over the network, and ends in a command line.
func ParseContent(raw []byte) (Content, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	// A setting that this agent does not know would be left out, and reported as placed.
	d.DisallowUnknownFields()
	var c Content
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("the content of a revision: %w", err)
	}
	if c.Version != "" {
		if v, err := upgrade.Parse(c.Version); err != nil || v.String() != c.Version {
			return c, fmt.Errorf("the content of a revision: version %q is not of the form 3.6.6", c.Version)
		}
	}
	switch {
	case c.Image != "" && !imageForm.MatchString(c.Image):
		return c, fmt.Errorf("the content of a revision: image %q has no tag, or is none", c.Image)
	case c.QuotaBytes < 0 || c.HeartbeatMilliseconds < 0 || c.ElectionMilliseconds < 0:
		return c, fmt.Errorf("the content of a revision: a negative number")
	}
	return c, nil
}

// ContentOf is what a manifest holds, with etcd's own values where it says nothing.
func ContentOf(pod *corev1.Pod) (Content, error) {
	c := Content{
		Image: pod.Spec.Containers[0].Image, Reason: pod.Annotations[ReasonAnnotation],
		QuotaBytes: DefaultQuotaBytes, HeartbeatMilliseconds: DefaultHeartbeatMilliseconds, ElectionMilliseconds: DefaultElectionMilliseconds,
	}
	if v, err := versionOfImage(c.Image); err == nil {
		c.Version = v.String()
	}
	flags := flagsOf(etcdCommand(pod))
	for name, set := range map[string]func(int64){
		quotaFlag:     func(n int64) { c.QuotaBytes = n },
		heartbeatFlag: func(n int64) { c.HeartbeatMilliseconds = int32(n) }, //nolint:gosec // ParseInt bounds it
		electionFlag:  func(n int64) { c.ElectionMilliseconds = int32(n) },  //nolint:gosec // ParseInt bounds it
	} {
		raw, ok := flags[name]
		if !ok {
			continue
		}
		bits := 32
		if name == quotaFlag {
			bits = 64
		}
		n, err := strconv.ParseInt(raw, 10, bits)
		if err != nil {
			return c, fmt.Errorf("etcd manifest: --%s=%s is no number", name, raw)
		}
		if n != 0 { // 0 is etcd's own word for its default
			set(n)
		}
	}
	return c, nil
}

var revisionForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// RevisionOf names the revision that a manifest is of: the one that ceo wrote into it, or one by what it holds, where
// somebody else made it. Ours is false then.
func RevisionOf(pod *corev1.Pod) (revision string, ours bool, err error) {
	// It becomes a file's name, and anybody may have written it.
	if r := pod.Annotations[RevisionAnnotation]; revisionForm.MatchString(r) {
		return r, true, nil
	}
	c, err := ContentOf(pod)
	return c.Hash(), false, err
}

// HeldBy reports whether a node has all that is asked for already; have is its ContentOf. A reason that was taken away
// asks for nothing.
func (c Content) HeldBy(have Content) bool {
	return (c.Version == "" || c.Version == have.Version) &&
		(c.Image == "" || c.Image == have.Image) &&
		(c.QuotaBytes == 0 || c.QuotaBytes == have.QuotaBytes) &&
		(c.HeartbeatMilliseconds == 0 || c.HeartbeatMilliseconds == have.HeartbeatMilliseconds) &&
		(c.ElectionMilliseconds == 0 || c.ElectionMilliseconds == have.ElectionMilliseconds) &&
		(c.Reason == "" || c.Reason == have.Reason)
}

// DefaultImage is kubeadm's name for a version's image.
func DefaultImage(version string) string { return "registry.k8s.io/etcd:" + version + "-0" }

func (c Content) image(have Content) string {
	switch {
	case c.Image != "":
		return c.Image
	case c.Version != "" && c.Version != have.Version:
		return DefaultImage(c.Version)
	}
	return have.Image
}

func versionOfImage(image string) (upgrade.Version, error) {
	i := strings.LastIndex(image, ":")
	if i < 0 || strings.Contains(image[i:], "/") {
		return upgrade.Version{}, fmt.Errorf("image %s has no tag", image)
	}
	return upgrade.Parse(image[i+1:])
}
