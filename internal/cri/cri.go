// Package cri asks the container runtime on this node which containers run,
// and stops them. It is the only place that knows the CRI's types. What the
// kubelet does with a manifest in an outage cannot be relied on, so "gone" is
// always asked of the runtime (P10).
package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container is one container of a pod on this node.
type Container struct {
	ID    string
	Pod   string
	Name  string
	Image string
	// State is running, created, exited or unknown.
	State string
}

// Running reports whether it may hold ports or write files.
func (c Container) Running() bool { return c.State != "exited" }

// Runtime is a connection to a container runtime.
type Runtime struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// Sockets are the usual places of the runtime's socket, most common first.
var Sockets = []string{"/run/containerd/containerd.sock", "/run/crio/crio.sock"}

// Open connects to the runtime's socket; the connection is made on first use.
func Open(socket string) (*Runtime, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("container runtime at %s: %w", socket, err)
	}
	return &Runtime{conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}, nil
}

// Close ends the connection.
func (r *Runtime) Close() error { return r.conn.Close() }

// HasImage reports whether the image is on this node.
func (r *Runtime) HasImage(ctx context.Context, ref string) (bool, error) {
	res, err := r.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		return false, fmt.Errorf("ask the container runtime for image %s: %w", ref, err)
	}
	return res.GetImage() != nil, nil
}

// List returns all containers of kube-system static pods, exited ones too.
func (r *Runtime) List(ctx context.Context) ([]Container, error) {
	res, err := r.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.namespace": "kube-system"},
	}})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Container, 0, len(res.GetContainers()))
	for _, c := range res.GetContainers() {
		out = append(out, Container{
			ID: c.GetId(), Pod: c.GetLabels()["io.kubernetes.pod.name"], Name: c.GetLabels()["io.kubernetes.container.name"],
			Image: imageName(c, tags), State: stateName(c.GetState()),
		})
	}
	return out, nil
}

// imageName is the name that the manifest gives, where the runtime keeps it;
// containerd 1.6 knows only the image's id, which has a name by its tag.
func imageName(c *runtimeapi.Container, tags map[string]string) string {
	if n := c.GetImage().GetUserSpecifiedImage(); n != "" {
		return n
	}
	if n, ok := tags[c.GetImageRef()]; ok {
		return n
	}
	return c.GetImage().GetImage()
}

// tags maps image ids to their names.
func (r *Runtime) tags(ctx context.Context) (map[string]string, error) {
	res, err := r.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	out := map[string]string{}
	for _, i := range res.GetImages() {
		if t := i.GetRepoTags(); len(t) > 0 {
			out[i.GetId()] = t[0]
		}
	}
	return out, nil
}

func stateName(s runtimeapi.ContainerState) string {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return "running"
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return "created"
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return "exited"
	}
	return "unknown"
}

// StopStatic stops the containers of the static pods with the given names (a
// static pod's full name is its name, a dash and the node's) and returns once
// the runtime says that none is left. A kubelet may start one again between a
// stop and the next look, as long as it still believes in the manifest, so it
// looks until there is none in two looks in a row. The context bounds it.
func (r *Runtime) StopStatic(ctx context.Context, names []string, grace time.Duration) error {
	var last []string
	clean := 0
	for {
		cs, err := r.List(ctx)
		if err != nil {
			return err
		}
		last = last[:0]
		for _, c := range cs {
			if !c.Running() || !ofStaticPod(c, names) {
				continue
			}
			last = append(last, c.Pod+"/"+c.Name)
			if err := r.stop(ctx, c.ID, grace); err != nil && ctx.Err() == nil {
				return fmt.Errorf("stop container %s of pod %s: %w", c.Name, c.Pod, err)
			}
		}
		if len(last) == 0 {
			if clean++; clean == 2 {
				return nil
			}
		} else {
			clean = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for containers to be gone: %s still there: %w", strings.Join(last, ", "), ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stopMargin is how much longer than the grace one request to stop a container may take.
const stopMargin = 10 * time.Second

// stop asks for one container's end. A request that hangs, as it was seen to on a busy machine, is given up, and made again
// by whoever finds the container still running.
func (r *Runtime) stop(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopMargin)
	defer cancel()
	_, err := r.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: int64(grace / time.Second)})
	if c := status.Code(err); c == codes.NotFound || c == codes.DeadlineExceeded {
		return nil
	}
	return err
}

// RunningStatic returns the running containers of one static pod.
func RunningStatic(cs []Container, name string) []Container {
	var out []Container
	for _, c := range cs {
		if c.Running() && ofStaticPod(c, []string{name}) {
			out = append(out, c)
		}
	}
	return out
}

// ofStaticPod says whether a container is of the static pod: container and pod
// carry the same name in every manifest that kubeadm writes, which keeps
// "etcd" from matching a pod that is called etcd-backup.
func ofStaticPod(c Container, names []string) bool {
	for _, n := range names {
		if c.Name == n && strings.HasPrefix(c.Pod, n+"-") {
			return true
		}
	}
	return false
}

// ErrNoRuntime is returned where no runtime's socket is found.
var ErrNoRuntime = errors.New("no container runtime socket found")
