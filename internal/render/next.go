package render

import (
	"fmt"
	"strings"
)

// Next is what to type after the files were written below root.
func Next(o Options, root string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if root != "/" {
		line("As root on %s, with its images %s and %s at hand:", o.Name, o.CeoImage, o.EtcdImage)
		line("  tar -C %s -c . | tar -C / -x -p --no-overwrite-dir        # the files, with their owners and modes", root)
	} else {
		line("As root on this node, with its images %s and %s at hand:", o.CeoImage, o.EtcdImage)
	}
	if o.joins() {
		line("For the cluster's first control-plane node:")
		line("  kubeadm init --config %s --upload-certs --ignore-preflight-errors=%s", KubeadmFile(), Ignore)
		line("For any other:")
		line("  kubeadm join ... --control-plane --certificate-key KEY --ignore-preflight-errors=%s", strings.Split(Ignore, ",")[0])
		line("etcd waits until the operator has added this node: `ceo status`.")
		return b.String()
	}
	line("Where this is a control-plane node:")
	line("  kubeadm init --config %s --upload-certs --ignore-preflight-errors=%s", KubeadmFile(), Ignore)
	line("  ceo node install --image %s        # notes which cluster this is, and checks all of it", o.CeoImage)
	line("Add to that file what your cluster needs besides: controlPlaneEndpoint before all, or no other node can join.")
	line("Then the operator and its EtcdCluster. On each node that joins, before `kubeadm join`: etcd's CA with its key in %s;", on.EtcdPKI())
	line("the installer does the rest. Where this is no control-plane node, and for all of it: docs/render.md.")
	return b.String()
}

// Ignore are the checks of kubeadm init that this node fails for a good reason: etcd's manifest is there, and etcd itself
// only once kubeadm has started the kubelet.
const Ignore = "FileAvailable--etc-kubernetes-manifests-etcd.yaml,ExternalEtcdVersion"
