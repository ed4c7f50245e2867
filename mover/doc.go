// Package mover executes a list of page moves: it asks the kernel to move the
// pages of another process in small batches, tries again where a page was
// busy, accounts for every page by name of failure, and afterwards asks the
// kernel where the pages really are.
//
// It decides nothing: which page should lie where is the caller's.
package mover
