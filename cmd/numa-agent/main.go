package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logging.Disable() // of go-redis: its errors come back and are printed once
	os.Exit(newCLI(os.Getenv, os.Stdout, os.Stderr).run(ctx, os.Args[1:]))
}
