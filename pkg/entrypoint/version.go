package entrypoint

import (
	"cmp"
	"runtime/debug"
)

// Version is this build's, set by the linker.
var Version = "dev"

// Commit is what this binary was built from, seven hex digits, as far as the Go tool noted it; else "unknown".
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var revision string
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value[:min(7, len(s.Value))]
		}
	}
	return cmp.Or(revision, "unknown")
}
