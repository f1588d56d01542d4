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
	"strings"
	"time"
)

// ErrNotFound is an object, or a kind of object, that the API server does not have. ErrRefused is what it understood and
// would not do.
var (
	ErrNotFound = errors.New("not found")
	ErrRefused  = errors.New("refused")
)

// Error is what the API server said in place of an answer.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the API server answers %d", e.Code)
	}
	return fmt.Sprintf("the API server answers %d: %s", e.Code, e.Message)
}

// Is tells whether it is an ErrNotFound or an ErrRefused.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return target == ErrRefused
	}
	return false
}

// Client of one API server.
type Client struct {
	host  string
	http  *http.Client
	token func() (string, error)
}

// answerLimit bounds what is read of one answer.
const answerLimit = 32 << 20

// do makes one request and reads the answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.host+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the API server: %w", err)
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ceo")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the API server: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("the API server's answer: %w", err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return refusal(res.StatusCode, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the API server's answer to %s %s: %w", method, path, err)
	}
	return nil
}

func refusal(code int, raw []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Message == "" {
		said.Message = string(raw[:min(len(raw), 512)])
	}
	return &Error{Code: code, Message: said.Message}
}

// Get reads what is at a path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, out)
}

// Applied is how an object is applied.
type Applied struct {
	// Owner is the one stable name by which the fields are ours.
	Owner string
	// Force takes fields over that another owner set.
	Force bool
	// DryRun has the API server check and change nothing.
	DryRun bool
}

// Apply makes an object be as given, by server-side apply.
func (c *Client) Apply(ctx context.Context, object map[string]any, o Applied) error {
	path, err := c.path(ctx, object)
	if err != nil {
		return err
	}
	body, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	q := url.Values{"fieldManager": {o.Owner}, "fieldValidation": {"Strict"}}
	if o.Force {
		q.Set("force", "true")
	}
	if o.DryRun {
		q.Set("dryRun", "All")
	}
	return c.do(ctx, http.MethodPatch, path+"?"+q.Encode(), "application/apply-patch+yaml", body, nil)
}

// path of an object, as the API server's own list of its kinds gives it.
func (c *Client) path(ctx context.Context, object map[string]any) (string, error) {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	root := "/apis/" + version
	if version == "v1" {
		root = "/api/v1"
	}
	var list struct {
		Resources []struct {
			Name       string `json:"name"`
			Kind       string `json:"kind"`
			Namespaced bool   `json:"namespaced"`
		} `json:"resources"`
	}
	if err := c.Get(ctx, root, &list); err != nil {
		return "", fmt.Errorf("%s of %s: %w", kind, version, err)
	}
	for _, r := range list.Resources {
		if r.Kind != kind || strings.Contains(r.Name, "/") {
			continue
		}
		if r.Namespaced {
			if namespace == "" {
				return "", fmt.Errorf("%s %s has no namespace, and needs one", kind, name)
			}
			root += "/namespaces/" + url.PathEscape(namespace)
		}
		return root + "/" + r.Name + "/" + url.PathEscape(name), nil
	}
	return "", fmt.Errorf("%s of %s: %w: its CRD is not installed, or not served yet", kind, version, ErrNotFound)
}

// Established waits until the API server serves a CustomResourceDefinition.
func (c *Client) Established(ctx context.Context, name string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var crd struct {
			Status struct {
				Conditions []struct {
					Type, Status, Message string
				} `json:"conditions"`
			} `json:"status"`
		}
		err := c.Get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+url.PathEscape(name), &crd)
		for _, x := range crd.Status.Conditions {
			if x.Type == "Established" && x.Status == "True" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("CustomResourceDefinition %s is not served after %s (%w): see its conditions", name, limit, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Merge lays a few fields over an object that exists: null takes one away, and what is not named stays as it is. What the
// object is then goes into out, unless that is nil.
func (c *Client) Merge(ctx context.Context, path string, patch map[string]any, owner string, out any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("patch %s: %w", path, err)
	}
	q := url.Values{"fieldManager": {owner}, "fieldValidation": {"Strict"}}
	return c.do(ctx, http.MethodPatch, path+"?"+q.Encode(), "application/merge-patch+json", body, out)
}
