package agent

import (
	"context"
	"fmt"
	"time"

	"numa-agent/policy"
	"numa-agent/topology"
)

// How the main thread is watched before its node is called home.
const (
	looks     = 8
	lookPause = 25 * time.Millisecond
)

// homeNode decides which node pages should come home to.
func (a *Agent) homeNode(ctx context.Context, report *TargetReport) (int, error) {
	nodes := make([]int, 0, looks)
	var pinned topology.IDSet
	for i := range looks {
		if i > 0 {
			if err := sleep(ctx, lookPause); err != nil {
				return 0, err
			}
		}
		threads, err := a.sys.Threads(a.target.PID, a.machine)
		if err != nil {
			return 0, processError(fmt.Sprintf("looking at the threads of pid %d", a.target.PID), err)
		}
		nodes = append(nodes, threads[0].Node)
		pinned = a.machine.NodesOfCPUs(threads[0].AllowedCPUs)
		report.MainThreadNode = threads[0].Node
	}
	if home := a.cfg.HomeNode; home != AutoHome {
		report.HomeNode, report.HomeReason = home, "asked for"
		return home, a.checkNode(home)
	}
	home, why, err := policy.HomeNode(nodes, pinned)
	if err != nil {
		return 0, err
	}
	report.HomeNode, report.HomeReason = home, string(why)
	return home, nil
}

// checkNode refuses a node that does not exist or that the target may not
// have memory on.
func (a *Agent) checkNode(node int) error {
	if !a.machine.HasNode(node) {
		return fmt.Errorf("%w: node %d does not exist, nodes here: %v", ErrUsage, node, a.nodes())
	}
	if !a.process.AllowedNodes.Contains(node) {
		return fmt.Errorf("%w: the target may not have memory on node %d, its cpuset allows nodes %v (cpuset.cpus and cpuset.mems are set where its container or service is)",
			ErrUsage, node, a.process.AllowedNodes)
	}
	return nil
}

// nodes are all nodes of the machine.
func (a *Agent) nodes() topology.IDSet {
	ids := make([]int, len(a.machine.Nodes))
	for i, n := range a.machine.Nodes {
		ids[i] = n.ID
	}
	return topology.NewIDSet(ids...)
}
