package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by release builds (-ldflags "-X main.version=…").
var version = "development"

type versionOutput struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of numa-agent",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionOutput{Version: version, Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Revision = s.Value
					}
				}
			}
			return c.print(v, func(t *tables) {
				t.row("numa-agent", v.Version)
				t.row("revision", v.Revision)
				t.row("go", v.Go)
				t.row("platform", v.Platform)
			})
		},
	}
}
