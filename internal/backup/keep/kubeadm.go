package keep

import (
	"bytes"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// kubeadmConfigKey is where kube-apiserver keeps the ConfigMap kubeadm-config. It is read from etcd: a backup must not
// need the API server (I24).
const kubeadmConfigKey = "/registry/configmaps/kube-system/kubeadm-config"

// kubeadmConfig takes the ClusterConfiguration out of the stored object: four bytes of magic, then a runtime.Unknown
// with the ConfigMap as protobuf in it (apimachinery, runtime/serializer/protobuf).
func kubeadmConfig(stored []byte) ([]byte, error) {
	magic := []byte{'k', '8', 's', 0}
	switch {
	case len(stored) == 0:
		return nil, nil
	case bytes.HasPrefix(stored, []byte("k8s:enc:")):
		return nil, fmt.Errorf("kubeadm-config is encrypted at rest")
	case !bytes.HasPrefix(stored, magic):
		return nil, fmt.Errorf("kubeadm-config is stored in a form that is not known here")
	}
	var u runtime.Unknown
	if err := u.Unmarshal(stored[len(magic):]); err != nil {
		return nil, fmt.Errorf("kubeadm-config: %w", err)
	}
	var cm corev1.ConfigMap
	if err := cm.Unmarshal(u.Raw); err != nil {
		return nil, fmt.Errorf("kubeadm-config: %w", err)
	}
	return []byte(cm.Data["ClusterConfiguration"]), nil
}
