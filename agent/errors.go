package agent

import (
	"errors"
	"io/fs"
)

// What can stop a cycle, told apart because an operator's next step differs.
// Errors of this package wrap one of these, fs.ErrPermission, or neither.
var (
	// ErrUsage: what was asked for cannot be, whatever the target does.
	ErrUsage = errors.New("invalid request")
	// ErrTarget: there is no such server here, it cannot be reached, it went
	// away, or it is not one that numa-agent can work on.
	ErrTarget = errors.New("no usable target")
	// ErrPartial: some of the planned pages were not moved.
	ErrPartial = errors.New("not all pages were moved")
)

// IsPermission reports whether err is a lack of permission.
func IsPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
