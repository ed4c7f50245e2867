package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"numa-agent/agent"
	"numa-agent/topology"
)

// cli is what the subcommands share: settings, and where output goes.
type cli struct {
	getenv         func(string) string
	stdout, stderr io.Writer
	sys            topology.FS
	cfg            agent.Config
	passwordFile   string
	output         string
	logLevel       string
	logFormat      string
}

func newCLI(getenv func(string) string, stdout, stderr io.Writer) *cli {
	return &cli{getenv: getenv, stdout: stdout, stderr: stderr, sys: topology.DefaultFS(), cfg: agent.DefaultConfig()}
}

// run executes one command line and returns the exit code.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.command()
	root.SetArgs(args)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !isSilent(err) {
		fmt.Fprintf(c.stderr, "numa-agent: %v\n", err)
	}
	return exitCode(err)
}

const rootHelp = `numa-agent brings the hot memory of a running Redis or Valkey to the NUMA node
of the thread that reads it. The server is not patched, restarted or
reconfigured.

The target is --redis.addr, or --pid, or the one server that runs here.

Exit codes:
  0  done, or nothing to do
  1  error
  2  wrong flags or settings
  3  partial: some planned pages were not moved, or a share was not reached
  4  permission is missing
  5  the target is missing, went away, or is not supported
  6  plan --exit-code: there are pages to move`

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "numa-agent",
		Short:         "Bring the hot memory of a running Redis to the node that reads it",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.complete(cmd.Flags())
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&c.cfg.Addr, "redis.addr", "", "where the server listens: redis://, rediss:// or unix:// URL, host:port or socket path (env REDIS_ADDR)")
	f.StringVar(&c.cfg.Username, "redis.user", "", "ACL user (env REDIS_USER)")
	f.StringVar(&c.passwordFile, "redis.password-file", "", "file with the password (env REDIS_PASSWORD_FILE; or the password in REDIS_PASSWORD)")
	f.IntVar(&c.cfg.PID, "pid", 0, "process id of the server")
	f.StringVarP(&c.output, "output", "o", "table", "output format: table or json")
	f.StringVar(&c.logLevel, "log-level", "warn", "least severe log messages to print to stderr: debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "console", "log format: console or json")
	root.AddCommand(c.topologyCommand(), c.planCommand(), c.rebalanceCommand(), c.keyCommand(), c.doctorCommand(), c.versionCommand())
	for _, sub := range root.Commands() {
		sub.Flags().SortFlags = false
	}
	return root
}

// noArgs refuses arguments: an unknown command among them.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return usageError{fmt.Errorf("unknown command %q (see %s --help)", args[0], cmd.CommandPath())}
	}
	return usageError{fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0])}
}

// complete fills in what flags left to the environment and checks what all
// subcommands share.
func (c *cli) complete(flags *pflag.FlagSet) error {
	fromEnv := func(flag, env string, value *string) {
		if !flags.Changed(flag) && c.getenv(env) != "" {
			*value = c.getenv(env)
		}
	}
	// A pid on the command line means that process, wherever it listens.
	if !flags.Changed("pid") {
		fromEnv("redis.addr", "REDIS_ADDR", &c.cfg.Addr)
	}
	fromEnv("redis.user", "REDIS_USER", &c.cfg.Username)
	fromEnv("redis.password-file", "REDIS_PASSWORD_FILE", &c.passwordFile)
	c.cfg.Password = c.getenv("REDIS_PASSWORD")
	if c.passwordFile != "" {
		b, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return usageError{fmt.Errorf("reading the password: %w", err)}
		}
		c.cfg.Password = strings.TrimRight(string(b), "\r\n")
	}
	if flags.Changed("pid") && c.cfg.PID <= 0 {
		return usageError{fmt.Errorf("--pid %d: want a process id", c.cfg.PID)}
	}
	if c.output != "table" && c.output != "json" {
		return usageError{fmt.Errorf("--output %q: want table or json", c.output)}
	}
	return nil
}

// cycleFlags adds the flags of the commands that run a cycle.
func (c *cli) cycleFlags(f *pflag.FlagSet) {
	f.Var(&c.cfg.Budget, "budget", "most memory to move in one cycle: bytes (64MiB), a share of the server's memory (5%) or all")
	f.Float64Var(&c.cfg.UntilShare, "until-share", 0, "local heat share to reach, from 0 to 1, in up to 5 cycles of one budget each; 0: one cycle")
	f.IntVar(&c.cfg.HomeNode, "home-node", agent.AutoHome, "node to bring pages to; -1: the node the main thread runs on")
	f.StringVar(&c.cfg.Source, "source", c.cfg.Source, "where heat is sampled: memory, freq (SCAN and OBJECT FREQ) or auto, which is memory")
	f.Float64Var(&c.cfg.MaxRedisShare, "redis-share", c.cfg.MaxRedisShare, "most of the server's time that sampling by commands takes, from 0 to 1")
	c.heatFlags(f)
}

// heatFlags adds the flags that tell how the server counts accesses.
func (c *cli) heatFlags(f *pflag.FlagSet) {
	f.Float64Var(&c.cfg.LogFactor, "lfu-log-factor", c.cfg.LogFactor, "the server's lfu-log-factor")
	f.DurationVar(&c.cfg.Decay, "lfu-decay-time", c.cfg.Decay, "the server's lfu-decay-time")
}

// logger returns the logger that the log flags ask for.
func (c *cli) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", c.logLevel)}
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.ISO8601TimeEncoder
	var encoder zapcore.Encoder
	switch c.logFormat {
	case "json":
		encoder = zapcore.NewJSONEncoder(cfg)
	case "console":
		encoder = zapcore.NewConsoleEncoder(cfg)
	default:
		return nil, usageError{fmt.Errorf("--log-format %q: want console or json", c.logFormat)}
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(c.stderr), level)), nil
}

// withAgent finds the target and runs do on it.
func (c *cli) withAgent(cmd *cobra.Command, do func(*agent.Agent) error) error {
	log, err := c.logger()
	if err != nil {
		return err
	}
	a, err := agent.New(cmd.Context(), c.cfg, c.sys, log)
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}
