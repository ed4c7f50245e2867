// Package topology reads the machine and the target process as the kernel
// shows them: NUMA nodes with their distances, CPUs and memory; a process's
// threads and the node each runs on, where its memory lies, what its cpuset
// allows; and which process listens on an address.
package topology
