package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md and reserved_keys.txt")

const (
	docsFile = "../../docs/configuration.md"
	docsMark = "<!-- The rest of this file is generated: go test ./pkg/config -update -->\n"
)

// TestDocsListTheOptions: the table in docs/configuration.md is what Options says.
func TestDocsListTheOptions(t *testing.T) {
	old, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, tables, ok := strings.Cut(string(old), docsMark)
	if !ok {
		t.Fatalf("%s lacks the line %q", docsFile, docsMark)
	}
	want := optionTables(unread(t))
	if tables == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not list the options as they are; run: go test ./pkg/config -update", docsFile)
	}
	if err := os.WriteFile(docsFile, []byte(head+docsMark+want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func optionTables(unread map[string]bool) string {
	var b strings.Builder
	for _, group := range []string{addresses, availability, liveness, jobs, checkpoints, web, client, metrics, environment} {
		fmt.Fprintf(&b, "\n## %s\n\n| key | type | default | older keys | what it does |\n| --- | --- | --- | --- | --- |\n", group)
		for _, d := range Options() {
			if d.Group != group {
				continue
			}
			kind := d.Type
			if d.Unit != "" {
				kind += " (" + d.Unit + ")"
			}
			older := make([]string, 0, len(d.Older)+len(d.Fallback))
			for _, key := range d.Fallback {
				older = append(older, "`"+key+"` (fallback)")
			}
			for _, key := range d.Older {
				older = append(older, "`"+key+"`")
			}
			value := ""
			if d.Default != "" {
				value = "`" + d.Default + "`"
			}
			doc := d.Doc
			if unread[d.Key] {
				doc = "(No effect yet.) " + doc
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.Key, kind, value, strings.Join(older, ", "), doc)
		}
	}
	return b.String()
}

func TestEveryOptionIsDocumented(t *testing.T) {
	tables := optionTables(nil)
	for _, d := range Options() {
		if !strings.Contains(tables, "| `"+d.Key+"` |") {
			t.Errorf("%s is in no group that the documentation has", d.Key)
		}
	}
}
