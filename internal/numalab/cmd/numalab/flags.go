package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"numa-agent/internal/numalab"
)

// options is the command line.
type options struct {
	nodes    []numalab.Node
	distance int
	timeout  time.Duration
	suite    string
	files    []numalab.File
	env      []string
	verbose  bool
	command  []string
}

func parseFlags(args []string, usage io.Writer) (*options, error) {
	opts := &options{}
	flags := flag.NewFlagSet("numalab", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.Usage = func() {
		fmt.Fprintln(usage, "usage: numalab [flags] -- command [args]")
		flags.PrintDefaults()
	}
	nodes := flags.Int("nodes", 2, "number of NUMA nodes")
	cpus := flags.String("cpus", "1", "CPUs of each node: one number for all, or a list such as 1,1,0")
	memory := flags.String("mem", "1GiB", "memory of each node: one size for all, or a list such as 2GiB,1GiB")
	flags.IntVar(&opts.distance, "distance", numalab.RemoteDistance, "distance between two nodes; a node is 10 from itself")
	flags.DurationVar(&opts.timeout, "timeout", 5*time.Minute, "time limit, from power-on")
	flags.StringVar(&opts.suite, "suite", numalab.DefaultSuite, "Debian release of the kernel and the programs")
	flags.BoolVar(&opts.verbose, "verbose", false, "print the boot messages on standard error")
	flags.Func("file", "put a file or folder into the guest, as `host:guest`; may be repeated", func(value string) error {
		host, guest, ok := strings.Cut(value, ":")
		if !ok || host == "" || guest == "" {
			return errors.New("not of the form host:guest")
		}
		opts.files = append(opts.files, numalab.File{Host: host, Guest: guest})
		return nil
	})
	flags.Func("env", "set a variable of the command, as `key=value`; may be repeated", func(value string) error {
		if key, _, ok := strings.Cut(value, "="); !ok || key == "" {
			return errors.New("not of the form key=value")
		}
		opts.env = append(opts.env, value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	opts.command = flags.Args()
	if len(opts.command) == 0 {
		return nil, errors.New("no command given (see numalab -h)")
	}
	var err error
	opts.nodes, err = parseNodes(*nodes, *cpus, *memory)
	return opts, err
}

// parseNodes combines the three flags that describe nodes.
func parseNodes(count int, cpus, memory string) ([]numalab.Node, error) {
	if count < 1 {
		return nil, fmt.Errorf("-nodes %d: at least one is needed", count)
	}
	cpuList, err := perNode(count, cpus)
	if err != nil {
		return nil, fmt.Errorf("-cpus %s: %w", cpus, err)
	}
	memoryList, err := perNode(count, memory)
	if err != nil {
		return nil, fmt.Errorf("-mem %s: %w", memory, err)
	}
	nodes := make([]numalab.Node, count)
	for i := range nodes {
		if nodes[i].CPUs, err = strconv.Atoi(cpuList[i]); err != nil {
			return nil, fmt.Errorf("-cpus %s: %w", cpus, err)
		}
		size, err := humanize.ParseBytes(memoryList[i])
		if err == nil && size > math.MaxInt64 {
			err = strconv.ErrRange
		}
		if err != nil {
			return nil, fmt.Errorf("-mem %s: %w", memory, err)
		}
		nodes[i].Memory = int64(size)
	}
	return nodes, nil
}

// perNode splits a list with an item for each node, or repeats a single one.
func perNode(count int, list string) ([]string, error) {
	items := strings.Split(list, ",")
	if len(items) == 1 {
		return strings.Split(strings.Repeat(list+",", count-1)+list, ","), nil
	}
	if len(items) != count {
		return nil, fmt.Errorf("%d values for %d nodes", len(items), count)
	}
	return items, nil
}
