package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// TestReference holds docs/cli.md against --help.
func TestReference(t *testing.T) {
	const file = "../../docs/cli.md"
	var doc bytes.Buffer
	doc.WriteString("# Command line\n\n<!-- Made from --help: go test ./cmd/numa-agent -run TestReference -update -->\n")
	root := newCLI(func(string) string { return "" }, nil, nil).command()
	for _, cmd := range append([]*cobra.Command{root}, root.Commands()...) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		r := cmdline(t, nil, append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		r.check(t, exitOK)
		fmt.Fprintf(&doc, "\n## %s\n\n```\n%s```\n", cmd.CommandPath(), r.stdout)
	}
	if *update {
		if err := os.WriteFile(file, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), doc.String()); diff != "" {
		t.Errorf("docs/cli.md is not what --help says; write it anew with -update:\n%s", diff)
	}
}

// TestDocumentedCommands: every command line of the documentation is one that
// numa-agent takes.
func TestDocumentedCommands(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("(?:bin/|`)numa-agent ([^`#\n]*)")
	flags := regexp.MustCompile("`(--[a-z][a-z.-]*)")
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root := newCLI(func(string) string { return "" }, nil, nil).command()
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			seen++
			cmd, args, err := root.Find(strings.Fields(m[1]))
			if err != nil || cmd == root && m[1] != "" {
				t.Errorf("%s: numa-agent %s: no such command", file, m[1])
			} else if err := cmd.ParseFlags(args); err != nil {
				t.Errorf("%s: numa-agent %s: %v", file, m[1], err)
			}
		}
		for _, m := range flags.FindAllStringSubmatch(string(text), -1) {
			if !documentedFlag(root, strings.TrimPrefix(m[1], "--")) {
				t.Errorf("%s: no command has a flag %s", file, m[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("found only %d command lines", seen)
	}
}

func documentedFlag(root *cobra.Command, name string) bool {
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
			return true
		}
	}
	return false
}
