package v1alpha1

// Annotations of an EtcdCluster by which `ceo adopt` tells the installers whose turn it is (docs/adr/0014-installer.md).
const (
	// AdoptingAnnotation names the one node whose etcd may be put under the guard now, while the EtcdCluster is Unmanaged.
	AdoptingAnnotation = "clusteretcd.io/adopting"
	// AdoptingAcceptsAnnotation holds the named risks that were accepted for it, with commas.
	AdoptingAcceptsAnnotation = "clusteretcd.io/adopting-accepts"
)
