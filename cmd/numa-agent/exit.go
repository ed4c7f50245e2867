package main

import (
	"errors"

	"numa-agent/agent"
)

// Exit codes, as docs/cli.md lists them.
const (
	exitOK         = 0 // done, or nothing to do
	exitError      = 1
	exitUsage      = 2 // flags or settings
	exitPartial    = 3 // some planned pages were not moved
	exitPermission = 4
	exitTarget     = 5 // target missing, gone or unsupported
	exitPending    = 6 // plan --exit-code: there are pages to move
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errPending is how plan --exit-code says that there are pages to move.
var errPending = errors.New("changes pending")

// silentError carries an exit code whose reason has been printed already.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

func isSilent(err error) bool {
	return errors.As(err, new(silentError)) || errors.Is(err, errPending)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPending):
		return exitPending
	case errors.As(err, new(usageError)), errors.Is(err, agent.ErrUsage):
		return exitUsage
	case agent.IsPermission(err):
		return exitPermission
	case errors.Is(err, agent.ErrTarget):
		return exitTarget
	case errors.Is(err, agent.ErrPartial):
		return exitPartial
	}
	return exitError
}
