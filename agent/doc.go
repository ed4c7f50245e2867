// Package agent composes one cycle: find the target, sample its heat, see
// where its pages lie, plan, move, and look again.
package agent
