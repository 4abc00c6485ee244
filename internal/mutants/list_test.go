package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each mutant's text is in its file, once, and what replaces it can be parsed: the list cannot rot unseen between two
// runs of it.
func TestMutantsFitTheCode(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range mutants {
		if seen[m.name] {
			t.Errorf("%s: the name is used twice", m.name)
		}
		seen[m.name] = true
		source, err := m.apply(root)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, source, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if len(m.tests) == 0 || m.breaks == "" {
			t.Errorf("%s: no test has to notice, or it breaks nothing", m.name)
		}
	}
}

// The tests that have to notice exist: go test -run is content with none.
func TestMutantsNameTestsThatExist(t *testing.T) {
	for _, m := range mutants {
		for _, test := range m.tests {
			names := testsOf(t, filepath.Join("../..", test.pkg))
			for run := range strings.SplitSeq(test.run, "|") {
				top, _, _ := strings.Cut(run, "/")
				if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, top) }) {
					t.Errorf("%s: %s has no test %s", m.name, test.pkg, run)
				}
			}
		}
	}
}

// testsOf lists the functions in the test files of a folder.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
