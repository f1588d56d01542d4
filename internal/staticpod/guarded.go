package staticpod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clusteretcd.io/ceo/internal/node"
)

const (
	// binaryDir is where the guard's binary lies in the etcd container: upstream's image has no shell and no copy
	// tool, so an init container of our image puts it there.
	binaryDir  = "/opt/ceo"
	binaryPath = binaryDir + "/ceo"
	// imageBinary is where our own image has it.
	imageBinary = "/usr/local/bin/ceo"

	installContainer = "ceo-install"
	binVolume        = "ceo-bin"
	stateVolume      = "ceo-state"
	runVolume        = "ceo-run"
)

// Options of a rendered manifest.
type Options struct {
	// CeoImage is the image of ceo, present on the node.
	CeoImage string
	// DataDir is etcd's data dir on the host (the agent alone).
	DataDir string
	// RuntimeDir is the folder of the container runtime's socket; empty for containerd's (the agent alone).
	RuntimeDir string
	// CADirs are the folders of the host's public CA certificates that are there; backups go to stores that such a CA
	// vouches for, and the image holds none (the agent alone).
	CADirs []string
}

// IsGuarded reports whether the pod's etcd is a child of the guard.
func IsGuarded(pod *corev1.Pod) bool {
	if len(pod.Spec.Containers) == 0 {
		return false
	}
	c := pod.Spec.Containers[0].Command
	return len(c) >= 3 && c[0] == binaryPath && c[1] == "guard"
}

// CeoImage is the image that a guarded manifest takes the guard from, "" without a guard.
func CeoImage(pod *corev1.Pod) string {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == installContainer {
			return c.Image
		}
	}
	return ""
}

// etcdCommand is etcd's own command line, also in a guarded manifest.
func etcdCommand(pod *corev1.Pod) []string {
	c := pod.Spec.Containers[0]
	full := append(slices.Clone(c.Command), c.Args...)
	if IsGuarded(pod) {
		if i := slices.Index(full, "--"); i >= 0 {
			return full[i+1:]
		}
	}
	return full
}

// RenderGuardedEtcd turns kubeadm's etcd manifest into one in which the guard is the first process and etcd's parent.
// What kubeadm reads stays: container [0] with name and upstream's image, labels, annotation, the volumes etcd-data and
// etcd-certs. Rendering a guarded manifest again changes nothing but the image of ceo.
func RenderGuardedEtcd(manifest []byte, o Options) ([]byte, error) {
	if o.CeoImage == "" {
		return nil, fmt.Errorf("guarded etcd manifest: no image of ceo is named")
	}
	pod, err := parseEtcd(manifest)
	if err != nil {
		return nil, err
	}
	c := &pod.Spec.Containers[0]
	c.Command = append([]string{binaryPath, "guard", "--"}, etcdCommand(pod)...)
	c.Args = nil

	// The guard answers the probes on a port of its own, so that a held or waiting etcd is alive but not ready. The
	// start-up probe asks for life, not for readiness: kubeadm's own asks /readyz, and a guard that waits for hours
	// to be added to its cluster would be killed every four minutes, into a back-off of up to five, and would then
	// miss the moment.
	probe(&c.LivenessProbe, "/livez")
	probe(&c.ReadinessProbe, "/readyz")
	probe(&c.StartupProbe, "/livez")

	c.VolumeMounts = setByName(c.VolumeMounts, volumeMountName,
		corev1.VolumeMount{Name: binVolume, MountPath: binaryDir, ReadOnly: true},
		corev1.VolumeMount{Name: stateVolume, MountPath: node.Paths{}.State()},
		corev1.VolumeMount{Name: runVolume, MountPath: node.Paths{}.Run()},
	)
	pod.Spec.InitContainers = setByName(pod.Spec.InitContainers, func(c corev1.Container) string { return c.Name },
		corev1.Container{
			Name:            installContainer,
			Image:           o.CeoImage,
			ImagePullPolicy: corev1.PullIfNotPresent,
			Command:         []string{imageBinary, "install-binary", binaryPath},
			VolumeMounts:    []corev1.VolumeMount{{Name: binVolume, MountPath: binaryDir}},
		})
	pod.Spec.Volumes = setByName(pod.Spec.Volumes, func(v corev1.Volume) string { return v.Name },
		corev1.Volume{Name: binVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		hostPath(stateVolume, node.Paths{}.State(), corev1.HostPathDirectoryOrCreate),
		hostPath(runVolume, node.Paths{}.Run(), corev1.HostPathDirectoryOrCreate),
	)
	return marshal(pod)
}

// RenderKubeadm is the manifest that kubeadm made and that was kept, for an etcd that goes on as it runs in the guarded one:
// with that one's image, flags and addresses. What was changed since belongs to the data: an older etcd does not start on
// what a newer one has written, and none listens at an address that is gone. Where nothing was changed it is kept itself.
func RenderKubeadm(kept, guarded []byte) ([]byte, error) {
	was, err := parseEtcd(kept)
	if err != nil {
		return nil, fmt.Errorf("kubeadm's own, as it was kept: %w", err)
	}
	is, err := parseEtcd(guarded)
	if err != nil {
		return nil, err
	}
	c, have := &was.Spec.Containers[0], &is.Spec.Containers[0]
	if c.Image == have.Image && slices.Equal(etcdCommand(was), etcdCommand(is)) {
		return kept, nil
	}
	c.Image, c.Command, c.Args = have.Image, etcdCommand(is), nil
	if _, ok := was.Annotations[advertised]; ok {
		was.Annotations[advertised] = is.Annotations[advertised]
	}
	return marshal(was)
}

// probe points a probe at the guard and keeps its thresholds. A probe that is not there stays away: the person who
// took it out of kubeadm's manifest had a reason.
func probe(p **corev1.Probe, path string) {
	if *p == nil {
		return
	}
	(*p).ProbeHandler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
		Host:   "127.0.0.1",
		Path:   path,
		Port:   intstr.FromInt32(node.GuardProbePort),
		Scheme: corev1.URISchemeHTTP,
	}}
}

func volumeMountName(m corev1.VolumeMount) string { return m.Name }

// setByName replaces the items of the same names in place and appends the others, so that rendering twice gives the
// same.
func setByName[T any](items []T, name func(T) string, set ...T) []T {
	for _, s := range set {
		i := slices.IndexFunc(items, func(t T) bool { return name(t) == name(s) })
		if i < 0 {
			items = append(items, s)
			continue
		}
		items[i] = s
	}
	return items
}

func hostPath(name, path string, kind corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
}
