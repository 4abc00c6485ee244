package rest

import (
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/tamias-project/tamias/pkg/config"
)

type configurationEntry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// configuration is that of the process asked, leader or not.
func (s *Server) configuration(*http.Request) ([]configurationEntry, error) {
	entries := []configurationEntry{}
	for key, value := range s.cfg.Configuration {
		entries = append(entries, configurationEntry{key, config.Mask(key, value)})
	}
	slices.SortFunc(entries, func(a, b configurationEntry) int { return strings.Compare(a.Key, b.Key) })
	return entries, nil
}

type environment struct {
	JVM struct {
		Version string   `json:"version"`
		Arch    string   `json:"arch"`
		Options []string `json:"options"`
	} `json:"jvm"`
	Classpath []string `json:"classpath"`
}

// environment describes the process asked in the words of a JVM: the Go runtime and the command line.
func (s *Server) environment(*http.Request) (e environment, err error) {
	e.JVM.Version, e.JVM.Arch = runtime.Version(), runtime.GOARCH
	e.JVM.Options, e.Classpath = []string{}, []string{}
	for _, arg := range os.Args[1:] {
		if key, value, ok := strings.Cut(arg, "="); ok {
			arg = key + "=" + config.Mask(key, value)
		}
		e.JVM.Options = append(e.JVM.Options, arg)
	}
	return e, nil
}
