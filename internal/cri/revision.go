package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Annotation is what the sandboxes of a static pod's running containers say under a key, one value for each container:
// the kubelet gives a manifest's annotations on to them, so that it tells which manifest runs. "" is a sandbox without it;
// none at all means that no container runs.
func (r *Runtime) Annotation(ctx context.Context, static, key string) ([]string, error) {
	kubeSystem := map[string]string{"io.kubernetes.pod.namespace": "kube-system"}
	cs, err := r.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		LabelSelector: kubeSystem, State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var sandboxes []string
	for _, c := range cs.GetContainers() {
		l := c.GetLabels()
		if ofStaticPod(Container{Pod: l["io.kubernetes.pod.name"], Name: l["io.kubernetes.container.name"]}, []string{static}) {
			sandboxes = append(sandboxes, c.GetPodSandboxId())
		}
	}
	if len(sandboxes) == 0 {
		return nil, nil
	}
	ps, err := r.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: kubeSystem}})
	if err != nil {
		return nil, fmt.Errorf("list pod sandboxes: %w", err)
	}
	said := map[string]map[string]string{}
	for _, p := range ps.GetItems() {
		said[p.GetId()] = p.GetAnnotations()
	}
	var out []string
	for _, id := range sandboxes {
		a, ok := said[id]
		if !ok {
			return nil, fmt.Errorf("the sandbox %s of a running container is not listed", id)
		}
		out = append(out, a[key])
	}
	return out, nil
}

// EnsureImage pulls an image that is not there.
func (r *Runtime) EnsureImage(ctx context.Context, ref string) error {
	have, err := r.HasImage(ctx, ref)
	if err != nil || have {
		return err
	}
	_, err = r.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}
