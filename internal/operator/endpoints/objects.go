package endpoints

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names, in kube-system.
const (
	Namespace     = "kube-system"
	ConfigMapName = "etcd-endpoints"
	ServiceName   = "host-etcd"
)

// Keys of the ConfigMap.
const (
	// KeyEndpoints are the client URLs with commas, as etcdctl --endpoints and kube-apiserver --etcd-servers take them.
	KeyEndpoints = "endpoints"
	// KeyUnconfirmed are those of them that could not be asked when they were last looked at.
	KeyUnconfirmed = "unconfirmed"
	// KeyNote is the reason, where they are not simply the healthy voters.
	KeyNote = "note"
)

const managedBy = "ceo-operator"

func metadata(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": managedBy}}
}

func configMap(d Decision) *corev1.ConfigMap {
	var urls, unconfirmed []string
	for _, p := range d.Members {
		urls = append(urls, p.URL)
		if p.Unconfirmed {
			unconfirmed = append(unconfirmed, p.URL)
		}
	}
	return &corev1.ConfigMap{ObjectMeta: metadata(ConfigMapName), Data: map[string]string{
		KeyEndpoints: strings.Join(urls, ","), KeyUnconfirmed: strings.Join(unconfirmed, ","), KeyNote: d.Reason,
	}}
}

// published are the URLs that a ConfigMap has.
func published(c *corev1.ConfigMap) []string {
	return slices.DeleteFunc(strings.Split(c.Data[KeyEndpoints], ","), func(s string) bool { return s == "" })
}

const (
	portName    = "etcd"
	defaultPort = 2379
)

// service has no selector: its EndpointSlices are written by hand, as etcd's pods are on the host's network.
func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metadata(ServiceName), Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Type: corev1.ServiceTypeClusterIP,
		Ports: []corev1.ServicePort{{Name: portName, Port: defaultPort, Protocol: corev1.ProtocolTCP}},
	}}
}

// slices4and6 are the two slices, one for each kind of address; one without endpoints is empty.
func slices4and6(d Decision) map[discoveryv1.AddressType]*discoveryv1.EndpointSlice {
	out := map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{}
	for _, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		m := metadata(ServiceName + "-" + strings.ToLower(string(kind)))
		m.Labels[discoveryv1.LabelServiceName] = ServiceName
		m.Labels[discoveryv1.LabelManagedBy] = managedBy
		out[kind] = &discoveryv1.EndpointSlice{ObjectMeta: m, AddressType: kind, Endpoints: []discoveryv1.Endpoint{}, Ports: []discoveryv1.EndpointPort{
			{Name: new(portName), Port: new(int32(defaultPort)), Protocol: new(corev1.ProtocolTCP)},
		}}
	}
	for _, p := range d.Members {
		a, port, ok := p.address()
		if !ok {
			continue
		}
		kind := discoveryv1.AddressTypeIPv4
		if a.Is6() && !a.Is4In6() {
			kind = discoveryv1.AddressTypeIPv6
		}
		e := discoveryv1.Endpoint{Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
		if p.Unconfirmed {
			// Not false: that would take it out of service (I23).
			e.Conditions.Ready = nil
		}
		if p.Node != "" {
			e.NodeName = new(p.Node)
		}
		s := out[kind]
		s.Endpoints = append(s.Endpoints, e)
		s.Ports[0].Port = new(port)
	}
	return out
}
