package store

// PartBuffers counts the buffers of a part that an S3 upload has ever made, once no part is under way: none is given up
// before the end.
func PartBuffers(w Writer) int {
	u := w.(*upload).w.(*s3Upload)
	u.wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.spare)
	if cap(u.buf) > 0 {
		n++
	}
	return n
}
