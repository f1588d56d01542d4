package staticpod

import (
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clusteretcd.io/ceo/internal/node"
)

// AgentName is the name of the agent's pod.
const AgentName = "ceo-agent"

// containerdDir is where containerd has its socket.
const containerdDir = "/run/containerd"

// systemPriority is what the priority class system-node-critical stands for; a static pod has no API server that
// would fill it in.
const systemPriority = 2000001000

// RenderAgent makes the agent's manifest. It has no credentials of the API and refers to nothing in it (P28).
func RenderAgent(o Options) ([]byte, error) {
	if o.CeoImage == "" {
		return nil, fmt.Errorf("agent manifest: no image of ceo is named")
	}
	if !filepath.IsAbs(o.DataDir) {
		return nil, fmt.Errorf("agent manifest: data dir %q is not an absolute path", o.DataDir)
	}
	if o.RuntimeDir == "" {
		o.RuntimeDir = containerdDir
	}
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	for _, m := range agentMounts(o) {
		volumes = append(volumes, hostPath(m.name, m.path, m.kind))
		mounts = append(mounts, corev1.VolumeMount{Name: m.name, MountPath: m.path, MountPropagation: m.propagation})
	}
	for i, dir := range o.CADirs {
		name := fmt.Sprintf("ca-certs-%d", i)
		volumes = append(volumes, hostPath(name, dir, corev1.HostPathDirectoryOrCreate))
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: true})
	}
	no := false
	root := int64(0)
	readOnly := true
	priority := int32(systemPriority)
	grace := int64(10)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      AgentName,
			Namespace: metav1.NamespaceSystem,
			// Never component=etcd with tier=control-plane: kubeadm takes every such pod for a member and waits in
			// vain for its endpoint annotation.
			Labels: map[string]string{
				"app.kubernetes.io/name":    AgentName,
				"app.kubernetes.io/part-of": "cluster-etcd-operator",
			},
		},
		Spec: corev1.PodSpec{
			HostNetwork:                   true,
			Priority:                      &priority,
			PriorityClassName:             "system-node-critical",
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			TerminationGracePeriodSeconds: &grace,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:            AgentName,
				Image:           o.CeoImage,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Command:         []string{imageBinary, "agent"},
				Ports: []corev1.ContainerPort{{
					Name: "grpc", ContainerPort: node.AgentPort, HostPort: node.AgentPort, Protocol: corev1.ProtocolTCP,
				}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU:    resource.MustParse("20m"),
					corev1.ResourceMemory: resource.MustParse("48Mi"),
				}},
				// Root over the container runtime's socket is root over the node, so "unprivileged" would be a word
				// only; still nothing more is granted than is used: the files of etcd may belong to another user
				// (kubeadm's rootless mode), and a restored data dir must get the same owner.
				SecurityContext: &corev1.SecurityContext{
					RunAsUser:                &root,
					RunAsGroup:               &root,
					AllowPrivilegeEscalation: &no,
					ReadOnlyRootFilesystem:   &readOnly,
					Capabilities: &corev1.Capabilities{
						Drop: []corev1.Capability{"ALL"},
						Add:  []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER"},
					},
				},
				// A minute of silence before the kubelet steps in: an agent in the middle of a restore on a slow disk
				// is busy, not dead.
				LivenessProbe: &corev1.Probe{
					ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{
						Host: "127.0.0.1", Port: intstr.FromInt32(node.AgentPort),
					}},
					InitialDelaySeconds: 10,
					PeriodSeconds:       10,
					TimeoutSeconds:      5,
					FailureThreshold:    6,
				},
				VolumeMounts: mounts,
			}},
			Volumes: volumes,
		},
	}
	return marshal(pod)
}

type agentMount struct {
	name, path  string
	kind        corev1.HostPathType
	propagation *corev1.MountPropagationMode
}

func agentMounts(o Options) []agentMount {
	fromHost := corev1.MountPropagationHostToContainer
	paths := node.Paths{}
	return []agentMount{
		// The folder, not its files: a manifest is placed and taken away by renames inside it.
		{"etc-kubernetes", filepath.Dir(paths.Manifests()), corev1.HostPathDirectory, nil},
		// Often a file system of its own, which may be mounted after the agent started.
		{"etcd-data", o.DataDir, corev1.HostPathDirectoryOrCreate, &fromHost},
		{"etcd-backup", paths.Backups(), corev1.HostPathDirectoryOrCreate, &fromHost},
		{stateVolume, paths.State(), corev1.HostPathDirectoryOrCreate, nil},
		{runVolume, paths.Run(), corev1.HostPathDirectoryOrCreate, nil},
		{"container-runtime", o.RuntimeDir, corev1.HostPathDirectory, nil},
		// systemd's private socket stops and starts the kubelet. No type: on a node without systemd its absence is
		// no error.
		{"systemd", "/run/systemd", corev1.HostPathUnset, nil},
	}
}
