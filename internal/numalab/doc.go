// Package numalab runs one command inside a virtual machine with several NUMA
// nodes: a Debian kernel under QEMU's software emulation, with a stock Redis
// and the usual tools. It needs no root, no KVM and no installed QEMU.
//
// Which node a page is on, and every answer of the kernel about it, is true
// there. Time is not: all nodes are equally far, and everything is slow.
//
// The machine's memory is its only disk. The host passes files in with the
// initial RAM disk; what the command prints, the files asked for and the exit
// code come back in frames over a serial port of their own, apart from the
// console, so nothing that is printed can be mistaken for them. The program
// that calls Run is also the guest's init: see RunAsInit.
package numalab
