// Command demo shows the project's main job on the real thing: a three-node
// control plane is brought up by kubeadm, destroyed, brought back by one
// command, and proven whole. It leaves nothing running.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

const snapshotPath = "/var/lib/etcd-backup/snapshot.db"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("[%6.1fs] %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	c, remove, err := harness.New(say)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	err = demo(ctx, c, say)
	// Also after an interrupt: what was brought up goes down.
	say("lab down")
	err = errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	remove()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	say("nothing is left running")
}

func demo(ctx context.Context, c *harness.Cluster, say func(string, ...any)) error {
	if err := c.Up(ctx, 3); err != nil {
		return err
	}
	w, err := c.Write(ctx, "demo")
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	if err := w.UntilAcked(ctx, 20, time.Minute); err != nil {
		return err
	}
	say("a writer creates ConfigMaps through the API, without pause")
	if err := c.Install(ctx, "", 3); err != nil {
		return err
	}
	if err := c.Whole(ctx, 3, 3*time.Minute); err != nil {
		return err
	}
	b, err := c.Save(ctx, "cp-1", snapshotPath)
	if err != nil {
		return err
	}
	say("ceo snapshot save: revision %d, %d keys", b.Revision, b.Keys)
	so, err := w.Acks()
	if err != nil {
		return err
	}
	if err := w.UntilAcked(ctx, len(so)+50, time.Minute); err != nil {
		return err
	}
	show(ctx, c, "ceo status")

	say("DISASTER: cp-2 and cp-3 lose power, cp-1 loses its data")
	if err := c.Destroy(ctx, "cp-1", "cp-2", "cp-3"); err != nil {
		return err
	}
	if err := w.Stop(); err != nil {
		return err
	}
	acks, err := w.Acks()
	if err != nil {
		return err
	}
	err = harness.Until(ctx, "the disaster to show", time.Minute, func(ctx context.Context) error {
		res, _ := c.Ceo(ctx, "cp-1", "status")
		if !strings.Contains(res.Out, "NO QUORUM") {
			return fmt.Errorf("%s%s", res.Out, res.Err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	show(ctx, c, "ceo status")
	return recoverAndProve(ctx, c, say, acks, b)
}

func recoverAndProve(ctx context.Context, c *harness.Cluster, say func(string, ...any), acks []harness.Ack, b harness.Backup) error {
	args := append([]string{"--from", b.Path}, harness.Consent("unreachable-quorum")...)
	fmt.Printf("\ncp-1# ceo recover %s\n", strings.Join(args, " "))
	first, err := c.Write(ctx, "after", "--every", "0", "--count", "1")
	if err != nil {
		return err
	}
	command := time.Now()
	res, err := c.Recover(ctx, "cp-1", args...)
	fmt.Print(res.Out, res.Err)
	if err != nil {
		return err
	}
	if err := first.UntilAcked(ctx, 1, time.Minute); err != nil {
		return err
	}
	ack, err := first.Acks()
	if err != nil {
		return err
	}
	prove := func() error {
		have, err := c.Objects(ctx)
		if err != nil {
			return err
		}
		return harness.Compare(acks, have, b.Revision)
	}
	if err := prove(); err != nil {
		return err
	}
	before := 0
	for _, a := range acks {
		if a.ResourceVersion <= b.Revision {
			before++
		}
	}
	say("proven: all %d objects acknowledged before the backup are there with their content, none of the %d from after it", before, len(acks)-before)

	say("cp-3 boots with its old data, cp-2 with an empty disk; nobody does anything on them")
	if _, err := c.Lab(ctx, "wipe", "2", "--disk"); err != nil {
		return err
	}
	boot := time.Now()
	if _, err := c.Lab(ctx, "boot", "3", "2"); err != nil {
		return err
	}
	how, err := c.Ended(ctx, "cp-1", 5*time.Minute)
	if err != nil {
		return err
	}
	ended := time.Now()
	if how != "done" {
		return fmt.Errorf("the recovery ended as %q", how)
	}
	if err := c.Whole(ctx, 3, 3*time.Minute); err != nil {
		return err
	}
	show(ctx, c, "ceo status")
	if err := prove(); err != nil {
		return err
	}
	say("proven again, with three voters, each asked with etcdctl, and three API servers")
	kept, err := c.Archived(ctx, "cp-3")
	if err != nil {
		return err
	}
	say("cp-3's old data is still there: %s", strings.Join(kept, " "))
	es, err := c.Journal(ctx, "cp-1")
	if err != nil {
		return err
	}
	fmt.Println("\nTimeline (seconds from the command)")
	for _, l := range []struct{ step, what string }{{"fence/cp-1", "fenced: etcd and kube-apiserver out of service"}, {"start", "one etcd member serves"}, {"control-plane", "the API answers"}} {
		if at, ok := harness.DoneAt(es, l.step); ok {
			fmt.Printf("%7.1f  %s\n", at.Sub(command).Seconds(), l.what)
		}
	}
	fmt.Printf("%7.1f  first write acknowledged\n", ack[0].At.Sub(command).Seconds())
	fmt.Printf("%7.1f  cp-2 and cp-3 get power again\n", boot.Sub(command).Seconds())
	fmt.Printf("%7.1f  three voters, all healthy (%.1f after the power)\n\n", ended.Sub(command).Seconds(), ended.Sub(boot).Seconds())
	return nil
}

func show(ctx context.Context, c *harness.Cluster, command string) {
	res, _ := c.On(ctx, "cp-1", strings.Fields(command)...)
	fmt.Printf("\ncp-1# %s\n%s%s\n", command, res.Out, res.Err)
}
