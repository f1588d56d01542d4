package revision

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Shelf is a node's revisions and its manifest. It does not lock: its caller lets one thing happen at a time.
type Shelf struct{ Paths node.Paths }

// reached is called at each point where a crash would leave another state on disk; the tests crash there.
var reached = func(string) {}

// ErrOutOfService is returned where etcd's manifest is not in the kubelet's folder.
var ErrOutOfService = errors.New("etcd's manifest is not in service on this node")

// ErrNoGood is returned where there is nothing to go back to.
var ErrNoGood = errors.New("there is no revision that this node was healthy with before")

func (s Shelf) dir() string   { return filepath.Join(s.Paths.State(), "revisions") }
func (s Shelf) index() string { return filepath.Join(s.dir(), "index.json") }

// name of a revision: it becomes a file's.
var name = regexp.MustCompile(`^[0-9a-f]{16}$`)

func (s Shelf) file(revision string) string { return filepath.Join(s.dir(), revision+".yaml") }

// Index reads what is known; nothing is known where there is no file.
func (s Shelf) Index() (Index, error) {
	x, err := durable.ReadJSON[Index](s.index())
	if errors.Is(err, fs.ErrNotExist) {
		return Index{}, nil
	}
	if err != nil {
		return Index{}, fmt.Errorf("the index of etcd's revisions: %w: set %s aside, and nothing can be gone back to until the node is healthy", err, s.index())
	}
	return x, nil
}

// Present is the manifest in the kubelet's folder.
type Present struct {
	Manifest []byte
	Revision string
	// Ours: it carries a revision's name. Others have one by what they hold.
	Ours    bool
	Content staticpod.Content
	// Address that it was made for when the node got another one; "" where it never did.
	Address string
}

// Present reads it.
func (s Shelf) Present() (Present, error) {
	raw, err := os.ReadFile(filepath.Join(s.Paths.Manifests(), staticpod.EtcdFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Present{}, ErrOutOfService
	}
	if err != nil {
		return Present{}, fmt.Errorf("etcd's manifest: %w", err)
	}
	return present(raw)
}

// Stamp is another one when the manifest in the kubelet's folder or the index is; "" where one of them cannot be read.
func (s Shelf) Stamp() string {
	manifest, err := os.ReadFile(filepath.Join(s.Paths.Manifests(), staticpod.EtcdFile))
	if err != nil {
		return ""
	}
	index, err := os.ReadFile(s.index())
	if err != nil {
		return ""
	}
	// What they hold and not their times: a person's clock or a copy that keeps them must not hide a change.
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d\n", len(manifest)) // a hash takes all
	_, _ = h.Write(manifest)
	_, _ = h.Write(index)
	return string(h.Sum(nil))
}

// parsed is the manifest that was parsed last: an agent looks at the same one again and again.
var parsed struct {
	sync.Mutex
	Present
}

func present(raw []byte) (Present, error) {
	parsed.Lock()
	defer parsed.Unlock()
	if len(raw) > 0 && bytes.Equal(raw, parsed.Manifest) {
		p := parsed.Present
		p.Manifest = raw
		return p, nil
	}
	p, err := parse(raw)
	if err == nil {
		parsed.Present = p
		parsed.Manifest = bytes.Clone(raw)
	}
	return p, err
}

func parse(raw []byte) (Present, error) {
	pod, err := staticpod.Parse(raw)
	if err != nil {
		return Present{}, fmt.Errorf("etcd's manifest: %w", err)
	}
	p := Present{Manifest: raw, Address: pod.Annotations[staticpod.AddressAnnotation]}
	if p.Revision, p.Ours, err = staticpod.RevisionOf(pod); err != nil {
		return Present{}, err
	}
	p.Content, err = staticpod.ContentOf(pod)
	return p, err
}

// Plan is a manifest that is to be placed.
type Plan struct {
	Revision string
	Manifest []byte
	// Content of the manifest as a whole.
	Content staticpod.Content
	// Already: it is what lies there.
	Already bool

	from     Present
	rollBack bool
}

// Image that it needs; "" if it is the one that the node has now.
func (p Plan) Image() string {
	if p.Content.Image == p.from.Content.Image {
		return ""
	}
	return p.Content.Image
}

// Plan renders a content for this node. It changes nothing.
func (s Shelf) Plan(c staticpod.Content) (Plan, error) {
	from, err := s.Present()
	if err != nil {
		return Plan{}, err
	}
	raw, err := staticpod.RenderRevision(from.Manifest, c)
	if err != nil {
		return Plan{}, err
	}
	return plan(from, raw)
}

// PlanBack is the plan to go back to the last good revision. Where nobody has touched the manifest since it was placed,
// that is the former one, byte for byte; otherwise what others have changed stays.
func (s Shelf) PlanBack() (Plan, error) {
	x, err := s.Index()
	if err != nil {
		return Plan{}, err
	}
	from, err := s.Present()
	if err != nil {
		return Plan{}, err
	}
	if from.Revision == x.LastGood && x.RolledBack {
		return Plan{Revision: x.LastGood, Manifest: from.Manifest, Content: from.Content, Already: true, from: from, rollBack: true}, nil
	}
	if x.LastGood == "" || x.LastGood == from.Revision {
		return Plan{}, ErrNoGood
	}
	good, err := s.Read(x.LastGood)
	if err != nil {
		return Plan{}, err
	}
	// One from before the node got another address would send etcd to the one that is gone (P20).
	if placed, err := s.Read(from.Revision); err != nil || !bytes.Equal(placed, from.Manifest) || !staticpod.SameAddresses(good, from.Manifest) {
		old, err := present(good)
		if err != nil {
			return Plan{}, fmt.Errorf("revision %s: %w", x.LastGood, err)
		}
		if good, err = staticpod.RenderRevisionAs(from.Manifest, old.Content, x.LastGood); err != nil {
			return Plan{}, err
		}
	}
	p, err := plan(from, good)
	p.rollBack = true
	return p, err
}

func plan(from Present, raw []byte) (Plan, error) {
	to, err := present(raw)
	return Plan{Revision: to.Revision, Manifest: raw, Content: to.Content, Already: bytes.Equal(raw, from.Manifest), from: from}, err
}

// Read gives a kept manifest.
func (s Shelf) Read(revision string) ([]byte, error) {
	if !name.MatchString(revision) {
		return nil, fmt.Errorf("%q names no revision", revision)
	}
	raw, err := os.ReadFile(s.file(revision))
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", revision, err)
	}
	return raw, nil
}

// Place places a plan: both manifests are kept and the index says what is about to be, before the kubelet's folder has it.
// A crash in between leaves the manifest of before in service, and the next call does it again (I20).
func (s Shelf) Place(p Plan, ill bool, c Clock) error {
	x, err := s.Index()
	if err != nil {
		return err
	}
	now, err := s.Present()
	if err != nil {
		return err
	}
	if bytes.Equal(now.Manifest, p.Manifest) {
		return staticpod.Place(s.Paths.Manifests(), staticpod.EtcdFile, p.Manifest) // makes it durable
	}
	if !bytes.Equal(now.Manifest, p.from.Manifest) {
		return errors.New("etcd's manifest was changed by somebody else meanwhile: nothing was placed")
	}
	if err := durable.MkdirAll(s.dir(), 0o700); err != nil {
		return err
	}
	if x, err = s.keep(x, now); err != nil {
		return err
	}
	if err := durable.WriteFile(s.file(p.Revision), p.Manifest, 0o600); err != nil {
		return fmt.Errorf("keep revision %s: %w", p.Revision, err)
	}
	reached("revision kept")
	x, drop := x.Place(p.Revision, now.Revision, ill, p.rollBack, c).Prune(Keep, now.Revision)
	if err := durable.WriteJSON(s.index(), x, 0o600); err != nil {
		return fmt.Errorf("the index of etcd's revisions: %w", err)
	}
	reached("index written")
	if err := staticpod.Place(s.Paths.Manifests(), staticpod.EtcdFile, p.Manifest); err != nil {
		return err
	}
	reached("manifest placed")
	s.remove(drop)
	return nil
}

// keep puts the present manifest on the shelf, unless it is there: one that was kept for being good stays as it was.
func (s Shelf) keep(x Index, p Present) (Index, error) {
	if _, err := s.Read(p.Revision); err == nil {
		return x, nil
	}
	if err := durable.WriteFile(s.file(p.Revision), p.Manifest, 0o600); err != nil {
		return x, fmt.Errorf("keep revision %s: %w", p.Revision, err)
	}
	return x.kept(p.Revision), nil
}

// remove takes manifests away that the index does not name any more. What stays behind in a crash is a file that nobody
// reads, and goes with the next.
func (s Shelf) remove(revisions []string) {
	for _, r := range revisions {
		if name.MatchString(r) {
			_ = os.Remove(s.file(r)) // see above
		}
	}
}

// Note records what was seen: the revision that lies there, and that the node is healthy with it. It writes only what has
// changed.
func (s Shelf) Note(seen string, good bool, c Clock) error {
	x, err := s.Index()
	if err != nil {
		return err
	}
	now, err := s.Present()
	if err != nil {
		return err
	}
	if now.Revision != seen {
		return nil // it was changed since it was looked at
	}
	next := x.Found(seen, c)
	write := next.Placed != x.Placed
	if good {
		better := next.Good(seen)
		if better.LastGood != x.LastGood || better.RolledBackFrom != x.RolledBackFrom {
			write = true
		}
		next = better
		// What is healthy is what can be gone back to: as it is now, also where a person has changed a flag of their own.
		if kept, err := s.Read(seen); err != nil || !bytes.Equal(kept, now.Manifest) {
			if err := durable.MkdirAll(s.dir(), 0o700); err != nil {
				return err
			}
			if err := durable.WriteFile(s.file(seen), now.Manifest, 0o600); err != nil {
				return fmt.Errorf("keep revision %s: %w", seen, err)
			}
			write = true
		}
	}
	if !write {
		return nil
	}
	next, drop := next.Prune(Keep)
	if err := durable.MkdirAll(s.dir(), 0o700); err != nil {
		return err
	}
	if err := durable.WriteJSON(s.index(), next, 0o600); err != nil {
		return fmt.Errorf("the index of etcd's revisions: %w", err)
	}
	s.remove(drop)
	return nil
}
