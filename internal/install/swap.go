package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"clusteretcd.io/ceo/internal/kubelet"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// The names of the static pods, as kubeadm calls them.
const (
	etcdPod      = "etcd"
	apiServerPod = "kube-apiserver"
)

// The limits of the waits: a restart of etcd takes seconds, a kubelet that is in its API server's way minutes.
const (
	stopLimit    = time.Minute
	restartLimit = 3 * time.Minute
	// stopGrace is what a kube-apiserver gets to end in good order.
	stopGrace = 5 * time.Second
)

// restartEtcd swaps etcd's manifest and waits for the member; if it does not come back, the manifest of before does.
func (r *run) restartEtcd(ctx context.Context) error {
	want, guarded := r.host.wantEtcd, true
	if r.o.Image == "" {
		want, guarded = r.host.wantKubeadm, false
	}
	old, err := r.containers(ctx, etcdPod)
	if err != nil {
		return err
	}
	if err = r.swapEtcd(ctx, want, guarded, old); err == nil {
		return r.apiServerBack(ctx)
	}
	r.o.Progress("%s: etcd did not come back (%v): putting the manifest of before back", r.host.self.Name, err)
	// Also when the caller was interrupted: half-way is the worst place to stop.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*restartLimit)
	defer cancel()
	if undoErr := r.undoEtcd(undo, old); undoErr != nil {
		return fmt.Errorf("%w; the manifest of before is back in place, but etcd is not: %w", err, undoErr)
	}
	return fmt.Errorf("%w; the manifest of before is back, and etcd with it", err)
}

// undoEtcd puts the manifest of before back. The container of before may never have gone, and is then as good as a new one.
func (r *run) undoEtcd(ctx context.Context, old map[string]bool) error {
	failed, err := r.containers(ctx, etcdPod)
	if err != nil {
		return err
	}
	for id := range old {
		delete(failed, id)
	}
	return r.swapEtcd(ctx, r.host.live, r.host.guarded, failed)
}

// swapEtcd places a manifest and waits until none of the old containers runs, another does, and the member has caught up.
func (r *run) swapEtcd(ctx context.Context, manifest []byte, guarded bool, old map[string]bool) error {
	began := time.Now()
	if err := r.swapManifest(ctx, manifest); err != nil {
		return err
	}
	if err := r.replaced(ctx, etcdPod, old, restartLimit); err != nil {
		return err
	}
	replaced := time.Since(began)
	if guarded {
		if err := wait(ctx, "waiting for the guard to start etcd", restartLimit, guardReady); err != nil {
			return r.withGuardsWords(err, began)
		}
	}
	if err := r.cluster.caughtUp(ctx, restartLimit); err != nil {
		return err
	}
	r.o.Progress("%s: etcd is back: container replaced after %.1fs, caught up after %.1fs", r.host.self.Name, replaced.Seconds(), time.Since(began).Seconds())
	return nil
}

// swapManifest has the kubelet stopped while etcd's manifest changes, and the old containers ended through the CRI. A
// kubelet that runs asks its own API server to delete and make etcd's mirror pod; that one hangs on the etcd that is gone,
// and the new container was seen to start 100 s later. So that API server is ended too; the kubelet brings both back.
func (r *run) swapManifest(ctx context.Context, manifest []byte) (err error) {
	dir := r.o.Paths.Manifests()
	if have, err := os.ReadFile(filepath.Join(dir, staticpod.EtcdFile)); err == nil && bytes.Equal(have, manifest) { //nolint:gosec // a fixed name
		return nil
	}
	if _, err := kubelet.State(ctx); err != nil {
		r.o.Progress("%s: the kubelet cannot be stopped (%v): leaving the swap to it alone, which may take two minutes", r.host.self.Name, err)
		return staticpod.Place(dir, staticpod.EtcdFile, manifest)
	}
	if err := kubelet.Stop(ctx); err != nil {
		return err
	}
	defer func() {
		// Whatever happened: a node without a kubelet starts nothing.
		if startErr := kubelet.Start(context.WithoutCancel(ctx)); startErr != nil {
			err = errors.Join(err, fmt.Errorf("%w: start it: `systemctl start kubelet`", startErr))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	apiServer, cancelAPIServer := context.WithTimeout(ctx, stopLimit/2)
	err = r.runtime.StopStatic(apiServer, []string{apiServerPod}, 2*time.Second)
	cancelAPIServer()
	if err != nil && ctx.Err() == nil {
		// It only makes the kubelet faster, which is no reason to leave etcd half-way.
		r.o.Progress("%s: kube-apiserver does not end (%v): etcd is restarted beside it, which may take two minutes", r.host.self.Name, err)
	}
	if err := r.runtime.StopStatic(ctx, []string{etcdPod}, 10*time.Second); err != nil {
		return err
	}
	return staticpod.Place(dir, staticpod.EtcdFile, manifest)
}

// ensureKubelet starts the kubelet if it is stopped: a run that was killed during the swap leaves it so (I20).
func (r *run) ensureKubelet(ctx context.Context) error {
	state, err := kubelet.State(ctx)
	if err != nil || (state != "inactive" && state != "failed") {
		// Where systemd cannot be asked, the waits below find out.
		return nil //nolint:nilerr // see above
	}
	r.o.Progress("%s: the kubelet is stopped: starting it", r.host.self.Name)
	return kubelet.Start(ctx)
}

// apiServerBack waits for this node's API server, so that the next node's installation does not take a second one away.
func (r *run) apiServerBack(ctx context.Context) error {
	manifest, err := readOptional(filepath.Join(r.o.Paths.Manifests(), staticpod.APIServerFile))
	if err != nil || manifest == nil {
		return err
	}
	pod, err := staticpod.Parse(manifest)
	if err != nil {
		return err
	}
	flags := staticpod.FlagsOf(pod)
	host, port := flags["advertise-address"], flags["secure-port"]
	if host == "" {
		host = r.host.self.Address
	}
	if port == "" {
		port = "6443"
	}
	url := "https://" + net.JoinHostPort(host, port) + "/readyz"
	// Who answers is of no matter here, only whether: nothing is sent that would be worth anything.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // see above
	return wait(ctx, "waiting for this node's API server", restartLimit, func(ctx context.Context) error {
		code, said, err := get(ctx, client, url)
		// Where anonymous requests are refused, the refusal is an answer.
		if err != nil || code == http.StatusOK || code == http.StatusUnauthorized || code == http.StatusForbidden {
			return err
		}
		return fmt.Errorf("it says %d: %s", code, said)
	})
}

// guardReady asks the guard's readiness: etcd is its child and ready.
func guardReady(ctx context.Context) error {
	url := "http://127.0.0.1:" + strconv.Itoa(node.GuardProbePort) + "/readyz"
	code, said, err := get(ctx, http.DefaultClient, url)
	if err != nil {
		return fmt.Errorf("the guard does not answer: %w", err)
	}
	if code != http.StatusOK {
		return fmt.Errorf("the guard says %d: %s", code, said)
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string) (code int, said string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	// The first words of an answer will do, and a cut answer is one.
	body, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	return res.StatusCode, string(body), nil
}

// withGuardsWords adds what the guard decided since, which it keeps on disk; what it decided before is of no interest.
func (r *run) withGuardsWords(err error, since time.Time) error {
	var said struct {
		State    string    `json:"state"`
		Since    time.Time `json:"since"`
		Decision struct {
			Answer string `json:"answer"`
			Reason string `json:"reason"`
		} `json:"decision"`
	}
	raw, readErr := os.ReadFile(r.o.Paths.GuardStatus())
	if readErr != nil || json.Unmarshal(raw, &said) != nil || said.Since.Before(since) || said.Decision.Answer == "" {
		return err
	}
	return fmt.Errorf("%w; the guard (%s) decided: %s: %s", err, said.State, said.Decision.Answer, said.Decision.Reason)
}
