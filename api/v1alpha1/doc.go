// Package v1alpha1 is the API of the operator: the etcd of this cluster, its backups and its recoveries.
//
// Everything is cluster-scoped: there is one etcd per cluster, and nothing here belongs to a namespace. What can be
// checked without looking at the cluster is checked by the API server itself (CEL); there are no webhooks, which would
// stand in the way in an outage. The CRDs in charts/ceo/crds are generated from these types: make generate.
//
// +kubebuilder:object:generate=true
// +groupName=clusteretcd.io
package v1alpha1
