package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func TestDisplayName(t *testing.T) {
	for argv0, want := range map[string]string{
		"ceo": "ceo", "/usr/local/bin/ceo": "ceo", "./kubectl-ceo": "kubectl ceo", "/opt/ceo/ceo-v1": "ceo",
	} {
		if got := displayName(argv0); got != want {
			t.Errorf("%s is %q, want %q", argv0, got, want)
		}
	}
}

// A person in an outage reads the help: each verb says what it is, and those
// that are typed show how.
func TestHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no word of help", c.CommandPath())
		}
		typed := c.Runnable() && !c.Hidden && c.HasParent() && c.Name() != "agent" && c.Name() != "guard" && c.Parent().Name() != "node"
		if typed && c.Example == "" {
			t.Errorf("%s shows no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand("ceo"))
}

func TestKubectlPluginCallsItselfSo(t *testing.T) {
	root := newRootCommand("kubectl ceo")
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"version"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "kubectl ceo ") {
		t.Errorf("%q", out.String())
	}
}

func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for _, args := range []string{
		"recover --plan --resume", "recover --abort --resume", "recover --resume --from x.db", "recover --follow=never", "status -o yaml",
		"snapshot save x.db --agent a --endpoint b", "snapshot save x.db --cert a", "status more", "nonsense",
	} {
		root := newRootCommand("ceo")
		root.SetOut(&bytes.Buffer{})
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(strings.Fields(args))
		if err := root.ExecuteContext(t.Context()); cli.CodeOf(err) != cli.ExitFailed {
			t.Errorf("%s: exit %d (%v)", args, cli.CodeOf(err), err)
		}
	}
}
