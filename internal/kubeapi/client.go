package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// Client asks one kube-apiserver.
type Client struct {
	base  *url.URL
	http  *http.Client
	token string
}

// Error is an API server's refusal.
type Error struct {
	Code    int
	Reason  string
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the API server answers %d", e.Code)
	}
	return fmt.Sprintf("the API server answers %d: %s", e.Code, e.Message)
}

// NotFound reports whether what was asked for is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == http.StatusNotFound
}

// Refused reports whether the API server understood and would not.
func Refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == http.StatusForbidden || e.Code == http.StatusUnauthorized || e.Code == http.StatusUnprocessableEntity)
}

const clusterPath = "/apis/clusteretcd.io/v1alpha1/etcdclusters/" + v1alpha1.ClusterName

// Cluster reads the EtcdCluster.
func (c *Client) Cluster(ctx context.Context) (*v1alpha1.EtcdCluster, error) {
	return c.cluster(ctx, http.MethodGet, "", nil)
}

// PatchSpec merges values into the EtcdCluster's spec, and gives the whole.
func (c *Client) PatchSpec(ctx context.Context, spec map[string]any) (*v1alpha1.EtcdCluster, error) {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, err
	}
	return c.cluster(ctx, http.MethodPatch, "application/merge-patch+json", body)
}

// maxAnswer of an API server: an EtcdCluster is some kilobytes.
const maxAnswer = 8 << 20

func (c *Client) cluster(ctx context.Context, method, kind string, body []byte) (*v1alpha1.EtcdCluster, error) {
	u := c.base.JoinPath(clusterPath)
	if method == http.MethodPatch {
		u.RawQuery = url.Values{"fieldManager": {"ceo"}, "fieldValidation": {"Strict"}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ceo")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the API server at %s: %w", c.base.Host, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the API server's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		e := &Error{Code: res.StatusCode}
		var said struct{ Reason, Message string }
		if json.Unmarshal(raw, &said) == nil {
			e.Reason, e.Message = said.Reason, said.Message
		}
		return nil, e
	}
	var out v1alpha1.EtcdCluster
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("the API server's answer: %w", err)
	}
	return &out, nil
}
