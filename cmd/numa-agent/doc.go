// Command numa-agent brings the hot pages of a running Redis or Valkey to the
// NUMA node of the thread that reads them. This package holds flags, output
// and exit codes, one file per subcommand, and no logic.
package main
