// Command numalab runs a command in a virtual machine with several NUMA nodes:
//
//	numalab -nodes 2 -- numactl -H
//	go test -exec "numalab -nodes 2 --" ./topology/
//
// A command whose name has a slash is copied from this machine, with its
// libraries; any other is looked for in the guest, which has redis-server,
// redis-cli, redis-benchmark, numactl, migratepages and busybox. The exit code
// is the command's, or 125 if there is none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"numa-agent/internal/numalab"
)

const (
	exitUsage = 2
	exitLab   = 125 // as docker and timeout(1) say that they failed themselves
)

func main() {
	numalab.RunAsInit()
	os.Exit(run())
}

func run() int {
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "numalab:", err)
		return exitUsage
	}
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "numalab:", err)
		return exitLab
	}
	cfg, err := opts.config(dir, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "numalab:", err)
		return exitLab
	}
	cfg.Stdout, cfg.Stderr = os.Stdout, os.Stderr
	if opts.verbose {
		cfg.Console = os.Stderr
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := numalab.Run(ctx, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "numalab:", err)
		return exitLab
	}
	return code
}
