// Package critest is a container runtime for tests of what asks one: it runs nothing, and says what a test tells it to.
package critest

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime has one running etcd, or none.
type Runtime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	mu          sync.Mutex
	running     bool
	annotations map[string]string
	beside      int
	images      []string
	pulled      []string
}

// Serve serves one on a socket until the test ends.
func Serve(t testing.TB, socket string) *Runtime {
	t.Helper()
	r := &Runtime{}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, r)
	runtimeapi.RegisterImageServiceServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return r
}

// Run makes an etcd run whose manifest had the annotations.
func (r *Runtime) Run(annotations map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.annotations = true, annotations
}

// Beside makes so many other pods of kube-system run beside it.
func (r *Runtime) Beside(pods int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beside = pods
}

// Offer makes an image one that can be pulled.
func (r *Runtime) Offer(image string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = append(r.images, image)
}

// ListContainers implements the CRI.
func (r *Runtime) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return &runtimeapi.ListContainersResponse{}, nil
	}
	out := &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{container("", "etcd")}}
	for i := range r.beside {
		out.Containers = append(out.Containers, container(strconv.Itoa(i), "other-"+strconv.Itoa(i)))
	}
	return out, nil
}

// ListPodSandbox implements the CRI.
func (r *Runtime) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{{Id: "s", Annotations: r.annotations}}}
	for i := range r.beside {
		out.Items = append(out.Items, &runtimeapi.PodSandbox{Id: "s" + strconv.Itoa(i), Annotations: map[string]string{"kubernetes.io/config.source": "file"}})
	}
	return out, nil
}

func container(id, name string) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: "c" + id, PodSandboxId: "s" + id, State: runtimeapi.ContainerState_CONTAINER_RUNNING,
		Labels: map[string]string{"io.kubernetes.pod.namespace": "kube-system", "io.kubernetes.pod.name": name + "-cp-1", "io.kubernetes.container.name": name},
	}
}

// ListImages implements the CRI.
func (r *Runtime) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{}, nil
}

// ImageStatus implements the CRI.
func (r *Runtime) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.pulled, req.GetImage().GetImage()) {
		return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: req.GetImage().GetImage()}}, nil
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

// PullImage implements the CRI.
func (r *Runtime) PullImage(_ context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.images, req.GetImage().GetImage()) {
		return nil, status.Error(codes.NotFound, "no such image in the registry")
	}
	r.pulled = append(r.pulled, req.GetImage().GetImage())
	return &runtimeapi.PullImageResponse{ImageRef: req.GetImage().GetImage()}, nil
}
