package numalab

import (
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// LocalDistance is the distance of a node to itself (ACPI specification,
	// "System Locality Information Table").
	LocalDistance = 10

	// RemoteDistance is the distance between nodes where a Config gives none:
	// what two sockets of one board report.
	RemoteDistance = 21

	// maxDistance is the largest distance that means one: 255 says that there
	// is no way between two nodes.
	maxDistance = 254

	// maxNodes is what QEMU's -numa takes (MAX_NODES, include/sysemu/numa.h).
	maxNodes = 128

	// maxCPUs of a node is far more than the emulator can make use of.
	maxCPUs = 64

	// maxMemory keeps sums of sizes well inside an int64, in bytes of a node.
	maxMemory = 1 << 40

	// memoryUnit is what the size of a node must be a multiple of.
	memoryUnit = 1 << 20
)

// DefaultSuite is the Debian release of kernel and programs.
const DefaultSuite = "bookworm"

// Node is one NUMA node of the machine.
type Node struct {
	Memory int64 // bytes, a multiple of 1 MiB; kernel and files take some of it
	CPUs   int   // 0 makes a node of memory alone, as CXL memory is one
}

// File is a file or folder on the host and its absolute path in the guest.
type File struct{ Host, Guest string }

// Config describes the machine and the command.
type Config struct {
	Nodes    []Node
	Distance [][]int       // Distance[i][j] from node i to node j; nil for RemoteDistance between all
	Suite    string        // Debian release of the guest; "" for DefaultSuite
	Timeout  time.Duration // from switching the machine on to the end of the command

	Files   []File   // put into the guest with their modes, folders with all that is in them
	Outputs []File   // brought back when the command has ended, as far as they exist then
	Command []string // a program's absolute path in the guest, or a name in its PATH, and the arguments
	Dir     string   // working directory in the guest, made if missing; "" for /tmp
	Env     []string // added to the guest's, as KEY=VALUE

	Stdout, Stderr io.Writer // of the command, as it prints; nil to discard
	Console        io.Writer // boot messages; nil for a quiet boot
}

func (c *Config) validate() error {
	if len(c.Command) == 0 {
		return errors.New("no command given")
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("time limit %s is not positive", c.Timeout)
	}
	if len(c.Nodes) == 0 || len(c.Nodes) > maxNodes {
		return fmt.Errorf("%d nodes given, 1 to %d are possible", len(c.Nodes), maxNodes)
	}
	cpus := 0
	for i, node := range c.Nodes {
		if node.Memory <= 0 || node.Memory > maxMemory || node.Memory%memoryUnit != 0 {
			return fmt.Errorf("memory of node %d is %d bytes, must be a multiple of 1 MiB up to 1 TiB", i, node.Memory)
		}
		if node.CPUs < 0 || node.CPUs > maxCPUs {
			return fmt.Errorf("node %d: %d CPUs, must be 0 to %d", i, node.CPUs, maxCPUs)
		}
		cpus += node.CPUs
	}
	if cpus == 0 {
		return errors.New("no node has a CPU")
	}
	return validateDistance(c.Distance, len(c.Nodes))
}

// memory returns the bytes of all nodes.
func (c *Config) memory() int64 {
	var sum int64
	for _, node := range c.Nodes {
		sum += node.Memory
	}
	return sum
}

func validateDistance(distance [][]int, nodes int) error {
	if distance == nil {
		return nil
	}
	if len(distance) != nodes {
		return fmt.Errorf("distances of %d nodes given, there are %d", len(distance), nodes)
	}
	for i, row := range distance {
		if len(row) != nodes {
			return fmt.Errorf("distances of node %d: %d given, there are %d nodes", i, len(row), nodes)
		}
		for j, d := range row {
			if i == j && d != LocalDistance {
				return fmt.Errorf("distance of node %d to itself is %d, must be %d", i, d, LocalDistance)
			}
			if i != j && (d <= LocalDistance || d > maxDistance) {
				return fmt.Errorf("distance from node %d to %d is %d, must be %d to %d", i, j, d, LocalDistance+1, maxDistance)
			}
		}
	}
	return nil
}

// UniformDistance is a distance matrix with the same distance between any two
// nodes.
func UniformDistance(nodes, remote int) [][]int {
	matrix := make([][]int, nodes)
	for i := range matrix {
		matrix[i] = make([]int, nodes)
		for j := range matrix[i] {
			matrix[i][j] = remote
		}
		matrix[i][i] = LocalDistance
	}
	return matrix
}
