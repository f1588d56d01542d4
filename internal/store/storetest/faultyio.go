package storetest

import (
	"context"
	"errors"
	"io"

	"clusteretcd.io/ceo/internal/store"
)

// faultyReader reads from r, whose next byte is the object's byte at.
type faultyReader struct {
	ctx   context.Context //nolint:containedctx // the reader lives as long as the operation
	r     io.ReadCloser
	key   string
	fault Fault
	at    int64
	end   int64 // where it is cut off; negative: nowhere
	extra int
}

func (f *faultyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.fault.ShortReads {
		p = p[:1]
	}
	// Nothing is read past a place where something happens.
	for _, stop := range []struct {
		on bool
		at int64
		do func() error
	}{
		{f.fault.FailRead, f.fault.FailReadAt, func() error { return f.fault.err("read", f.key) }},
		{f.fault.StallRead, f.fault.StallReadAt, func() error { return stall(f.ctx) }},
		{f.end >= 0, f.end, func() error { return io.EOF }},
	} {
		if !stop.on {
			continue
		}
		if f.at >= stop.at {
			return 0, stop.do()
		}
		p = p[:min(int64(len(p)), stop.at-f.at)]
	}
	n, err := f.r.Read(p)
	if i := f.fault.FlipAt - f.at; f.fault.Flip && i >= 0 && i < int64(n) {
		mask := f.fault.FlipMask
		if mask == 0 {
			mask = 0xff
		}
		p[i] ^= mask
	}
	f.at += int64(n)
	if errors.Is(err, io.EOF) && f.extra > 0 {
		if n > 0 {
			return n, nil
		}
		n = min(f.extra, len(p))
		clear(p[:n])
		f.extra -= n
		return n, nil
	}
	return n, err
}

func (f *faultyReader) Close() error { return f.r.Close() }

func stall(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// faultyWriter writes to w.
type faultyWriter struct {
	ctx    context.Context //nolint:containedctx // the writer lives as long as the operation
	in     *Faulty
	w      store.Writer
	key    string
	fault  Fault
	at     int64
	broken error
}

func (f *faultyWriter) Write(p []byte) (int, error) {
	if f.broken != nil {
		return 0, f.broken
	}
	whole := p
	var then func() error
	for _, stop := range []struct {
		on bool
		at int64
		do func() error
	}{
		{f.fault.FailWrite, f.fault.FailWriteAt, func() error { return f.fault.err("write", f.key) }},
		{f.fault.StallWrite, f.fault.StallWriteAt, func() error { return stall(f.ctx) }},
	} {
		if stop.on && stop.at-f.at < int64(len(p)) {
			p, then = p[:max(0, stop.at-f.at)], stop.do
		}
	}
	n, err := f.w.Write(p)
	f.at += int64(n)
	if err == nil && len(p) < len(whole) {
		err = then()
		f.broken = err
	}
	return n, err
}

func (f *faultyWriter) Commit() error {
	f.in.note(f.key, "commit %s", f.key)
	err := f.broken
	if err == nil && f.fault.FailCommit {
		err = f.fault.err("commit", f.key)
	}
	if err != nil {
		_ = f.w.Abort()
		return err
	}
	return f.w.Commit()
}

func (f *faultyWriter) Abort() error {
	f.in.note(f.key, "abort %s", f.key)
	return f.w.Abort()
}
