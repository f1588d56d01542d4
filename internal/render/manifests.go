package render

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/internal/staticpod"
)

const (
	dataDir    = "/var/lib/etcd"
	clientPort = 2379
	peerPort   = 2380
)

var (
	// nameForm is that of a node: a DNS name.
	nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	// clusterForm is what a person types to confirm, and what stands in YAML.
	clusterForm = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$`)
	imageForm   = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._:/-]*:v?3\.([0-9]+)\.[0-9]+(-[A-Za-z0-9._-]+)?$`)
)

// validate refuses what would end in a command line or a file and could not work.
func (o Options) validate() error {
	switch ip := net.ParseIP(o.Address); {
	case !nameForm.MatchString(o.Name) || len(o.Name) > 253:
		return fmt.Errorf("--name %q is no name of a node", o.Name)
	case ip == nil || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast():
		return fmt.Errorf("--address %q is not an IP address by which other nodes could reach this one", o.Address)
	case !clusterForm.MatchString(o.ClusterName):
		return fmt.Errorf("--cluster-name %q is no name of a cluster", o.ClusterName)
	case o.CeoImage == "":
		return fmt.Errorf("--image: no image of ceo is named")
	}
	m := imageForm.FindStringSubmatch(o.EtcdImage)
	if m == nil {
		return fmt.Errorf("--etcd-image %q: its tag must name a version of etcd, as in registry.k8s.io/etcd:3.7.0-0", o.EtcdImage)
	}
	if minor, err := strconv.Atoi(m[1]); err != nil || minor < 6 {
		return fmt.Errorf("--etcd-image %q: a new cluster begins with etcd 3.6 or newer", o.EtcdImage)
	}
	for _, p := range o.Peers {
		if !nameForm.MatchString(p.Name) || net.ParseIP(p.Address) == nil {
			return fmt.Errorf("--peer %s=%s: it is NAME=IP of a node of the cluster", p.Name, p.Address)
		}
		if p.Name == o.Name || p.Address == o.Address {
			return fmt.Errorf("--peer %s=%s: a node is no peer of itself", p.Name, p.Address)
		}
	}
	return nil
}

func (o Options) url(port int) string { return url(o.Address, port) }

func url(host string, port int) string {
	return "https://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// PeerURL and ClientURL are those of a node at this address.
func PeerURL(address string) string { return url(address, peerPort) }

// ClientURL is PeerURL for clients.
func ClientURL(address string) string { return url(address, clientPort) }

// loopback of the address's family, and the name of both in a pod's probe.
func (o Options) loopback() string {
	if net.ParseIP(o.Address).To4() == nil {
		return "::1"
	}
	return "127.0.0.1"
}

// manifests are etcd's as kubeadm would make it, which `ceo node uninstall` goes back to, the one with the guard, and the
// agent's.
func manifests(o Options) (bare, guarded, agent []byte, err error) {
	bare = []byte(strings.NewReplacer(
		"$NAME", o.Name, "$IMAGE", o.EtcdImage, "$CLIENT", o.url(clientPort), "$PEER", o.url(peerPort),
		"$LOOPBACK_CLIENT", url(o.loopback(), clientPort), "$METRICS", "http://"+net.JoinHostPort(o.loopback(), "2381"), "$HOST", o.loopback(),
	).Replace(etcdPod))
	options := staticpod.Options{CeoImage: o.CeoImage, DataDir: dataDir, RuntimeDir: o.RuntimeDir, CADirs: o.CADirs}
	if guarded, err = staticpod.RenderGuardedEtcd(bare, options); err != nil {
		return nil, nil, nil, err
	}
	agent, err = staticpod.RenderAgent(options)
	return bare, guarded, agent, err
}

// KubeadmConfig says to kubeadm that etcd is there. Every API server asks the member of its own node first; the addresses
// of this node and its peers are for those whose member does not serve yet. This node's is among them also where the first
// member is another machine's: that one goes, and kubeadm gives the list to every node that joins.
func KubeadmConfig(o Options) []byte {
	endpoints := []string{url(o.loopback(), clientPort), o.url(clientPort)}
	for _, p := range o.Peers {
		endpoints = append(endpoints, cmp.Or(p.ClientURL, ClientURL(p.Address)))
	}
	return []byte(strings.NewReplacer("$CLUSTER", o.ClusterName, "$ENDPOINTS", strings.Join(endpoints, "\n    - ")).Replace(`apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: $CLUSTER
etcd:
  external:
    endpoints:
    - $ENDPOINTS
    caFile: /etc/kubernetes/pki/etcd/ca.crt
    certFile: /etc/kubernetes/pki/apiserver-etcd-client.crt
    keyFile: /etc/kubernetes/pki/apiserver-etcd-client.key
`))
}

// etcdPod is what kubeadm 1.37 makes on a first node: what reads its manifests reads this one.
const etcdPod = `apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/etcd.advertise-client-urls: $CLIENT
  labels:
    component: etcd
    tier: control-plane
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=$CLIENT
    - --cert-file=/etc/kubernetes/pki/etcd/server.crt
    - --client-cert-auth=true
    - --data-dir=/var/lib/etcd
    - --feature-gates=InitialCorruptCheck=true
    - --initial-advertise-peer-urls=$PEER
    - --initial-cluster=$NAME=$PEER
    - --key-file=/etc/kubernetes/pki/etcd/server.key
    - --listen-client-urls=$LOOPBACK_CLIENT,$CLIENT
    - --listen-metrics-urls=$METRICS
    - --listen-peer-urls=$PEER
    - --name=$NAME
    - --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt
    - --peer-client-cert-auth=true
    - --peer-key-file=/etc/kubernetes/pki/etcd/peer.key
    - --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
    - --snapshot-count=10000
    - --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
    - --watch-progress-notify-interval=5s
    image: $IMAGE
    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: $HOST
        path: /livez
        port: probe-port
        scheme: HTTP
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    name: etcd
    ports:
    - containerPort: 2381
      name: probe-port
      protocol: TCP
    readinessProbe:
      failureThreshold: 3
      httpGet:
        host: $HOST
        path: /readyz
        port: probe-port
        scheme: HTTP
      periodSeconds: 1
      timeoutSeconds: 15
    resources:
      requests:
        cpu: 100m
        memory: 100Mi
    startupProbe:
      failureThreshold: 24
      httpGet:
        host: $HOST
        path: /readyz
        port: probe-port
        scheme: HTTP
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    volumeMounts:
    - mountPath: /var/lib/etcd
      name: etcd-data
    - mountPath: /etc/kubernetes/pki/etcd
      name: etcd-certs
  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext:
    seccompProfile:
      type: RuntimeDefault
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki/etcd
      type: DirectoryOrCreate
    name: etcd-certs
  - hostPath:
      path: /var/lib/etcd
      type: DirectoryOrCreate
    name: etcd-data
`
