package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// process is one that this program started.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

func startProcess(name, log, path string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // of this program
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	p := &process{name: name, log: log, cmd: exec.Command(path, args...), exited: make(chan struct{})} //nolint:gosec // the programs that are measured
	p.cmd.Stdout, p.cmd.Stderr = f, f
	// Were this program killed, nothing would end them. A guard takes its etcd with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // killed in the end
		close(p.exited)
	}()
	return p, nil
}

// kill without leave: what it wrote is thrown away.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.exited
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) lastWords() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return p.name + ":\n" + strings.Join(lines[max(0, len(lines)-5):], "\n")
}
