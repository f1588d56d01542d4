package critest

// Have makes an image one that is on the node.
func (r *Runtime) Have(image string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulled = append(r.pulled, image)
}
