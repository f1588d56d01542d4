// Package critest is a container runtime for tests of what asks one: it runs nothing, and says what a test tells it to.
package critest

import (
	"context"
	"net"
	"slices"
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
	return &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{
		Id: "c", PodSandboxId: "s", State: runtimeapi.ContainerState_CONTAINER_RUNNING,
		Labels: map[string]string{"io.kubernetes.pod.namespace": "kube-system", "io.kubernetes.pod.name": "etcd-cp-1", "io.kubernetes.container.name": "etcd"},
	}}}, nil
}

// ListPodSandbox implements the CRI.
func (r *Runtime) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{{Id: "s", Annotations: r.annotations}}}, nil
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
