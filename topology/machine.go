package topology

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Node is one NUMA node.
type Node struct {
	ID            int
	CPUs          IDSet       // online CPUs; none on a node that is memory alone, such as CXL
	Distances     map[int]int // SLIT distance to each online node; 10 to itself
	MemTotalBytes uint64      // 0 on a node that is CPUs alone
	MemFreeBytes  uint64
}

// Machine is the nodes of the machine, by ascending id. Ids may have holes.
type Machine struct{ Nodes []Node }

// Node returns the node with an id.
func (m Machine) Node(id int) (Node, bool) {
	for _, n := range m.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// HasNode reports whether a node exists.
func (m Machine) HasNode(id int) bool {
	_, ok := m.Node(id)
	return ok
}

// NodeOfCPU returns the node a CPU belongs to.
func (m Machine) NodeOfCPU(cpu int) (int, bool) {
	for _, n := range m.Nodes {
		if n.CPUs.Contains(cpu) {
			return n.ID, true
		}
	}
	return -1, false
}

// NodesOfCPUs returns the nodes that any of cpus belongs to.
func (m Machine) NodesOfCPUs(cpus IDSet) IDSet {
	var ids []int
	for _, cpu := range cpus.ids {
		if id, ok := m.NodeOfCPU(cpu); ok {
			ids = append(ids, id)
		}
	}
	return NewIDSet(ids...)
}

// Machine reads /sys/devices/system/node
// (Documentation/ABI/stable/sysfs-devices-node). On a kernel without NUMA it
// returns one node, 0, with all CPUs and memory.
func (f FS) Machine() (Machine, error) {
	dir := filepath.Join(f.sys, "devices/system/node")
	online, err := readIDSet(filepath.Join(dir, "online"))
	if errors.Is(err, fs.ErrNotExist) {
		return f.withoutNUMA()
	}
	if err != nil {
		return Machine{}, err
	}
	if online.Len() == 0 {
		return Machine{}, fmt.Errorf("reading %s: no node is online", filepath.Join(dir, "online"))
	}
	var m Machine
	for _, id := range online.ids {
		n, err := readNode(filepath.Join(dir, "node"+strconv.Itoa(id)), id, online)
		if err != nil {
			return Machine{}, err
		}
		m.Nodes = append(m.Nodes, n)
	}
	return m, nil
}

func readNode(dir string, id int, online IDSet) (n Node, err error) {
	n.ID = id
	if n.CPUs, err = readIDSet(filepath.Join(dir, "cpulist")); err != nil {
		return Node{}, err
	}
	if err := readFile(filepath.Join(dir, "distance"), func(r io.Reader) (err error) {
		n.Distances, err = parseDistances(r, online)
		return err
	}); err != nil {
		return Node{}, err
	}
	return n, readFile(filepath.Join(dir, "meminfo"), func(r io.Reader) (err error) {
		n.MemTotalBytes, n.MemFreeBytes, err = parseMeminfo(r)
		return err
	})
}

// withoutNUMA describes a machine whose kernel knows of no nodes.
func (f FS) withoutNUMA() (Machine, error) {
	n := Node{Distances: map[int]int{0: 10}}
	var err error
	if n.CPUs, err = readIDSet(filepath.Join(f.sys, "devices/system/cpu/online")); err != nil {
		return Machine{}, err
	}
	err = readFile(filepath.Join(f.proc, "meminfo"), func(r io.Reader) (err error) {
		n.MemTotalBytes, n.MemFreeBytes, err = parseMeminfo(r)
		return err
	})
	return Machine{Nodes: []Node{n}}, err
}

// readFile parses a file, naming it in errors.
func readFile(name string, parse func(io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err // it names the file
	}
	defer file.Close()
	if err := parse(file); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

func readIDSet(name string) (set IDSet, err error) {
	err = readFile(name, func(r io.Reader) error {
		// The longest list, every other of 8192 CPUs, has 20 KiB.
		text, err := io.ReadAll(io.LimitReader(r, 1<<16))
		if err != nil {
			return err
		}
		set, err = ParseIDSet(string(text))
		return err
	})
	return set, err
}

// parseDistances reads a node's distance file: one number for each online
// node, in the order of their ids (drivers/base/node.c, node_read_distance).
func parseDistances(r io.Reader, online IDSet) (map[int]int, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<16))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != online.Len() {
		return nil, fmt.Errorf("%d distances for %d online nodes", len(fields), online.Len())
	}
	distances := make(map[int]int, len(fields))
	for i, field := range fields {
		d, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("distance %.40q: %w", field, err)
		}
		distances[online.ids[i]] = int(d)
	}
	return distances, nil
}

// parseMeminfo reads MemTotal and MemFree, in bytes, of a node's meminfo or
// of /proc/meminfo. The lines of the former begin with "Node N".
func parseMeminfo(r io.Reader) (total, free uint64, err error) {
	found := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 2 && fields[0] == "Node" {
			fields = fields[2:]
		}
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		var value *uint64
		switch fields[0] {
		case "MemTotal:":
			value = &total
		case "MemFree:":
			value = &free
		default:
			continue
		}
		kb, err := strconv.ParseUint(fields[1], 10, 53)
		if err != nil {
			return 0, 0, fmt.Errorf("%s %.40q: %w", fields[0], fields[1], err)
		}
		*value = kb << 10
		found++
	}
	if err := lines.Err(); err != nil {
		return 0, 0, err
	}
	if found != 2 {
		return 0, 0, errors.New("no MemTotal or no MemFree")
	}
	return total, free, nil
}
