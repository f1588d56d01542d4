package v1alpha1

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Size is a number of bytes with its unit: Ki, Mi, Gi or Ti, e.g. 8Gi. It is text of a bounded length and not a
// Quantity, as the API server does not take a rule on a Quantity: it cannot tell what that would cost.
//
// +kubebuilder:validation:MaxLength=16
type Size string

// Bytes of it.
func (s Size) Bytes() (int64, error) {
	q, err := resource.ParseQuantity(string(s))
	if err != nil {
		return 0, fmt.Errorf("%q is no size: write a number and its unit, e.g. 8Gi: %w", string(s), err)
	}
	n, ok := q.AsInt64()
	if !ok || n < 0 {
		return 0, fmt.Errorf("%q is no size: write a number and its unit, e.g. 8Gi", string(s))
	}
	return n, nil
}
