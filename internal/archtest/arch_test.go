package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tamias-project/tamias/"

// ladder gives each package below pkg its rung. Imports point to lower rungs, never sideways; packages
// below a named one share its rung and may import it.
var ladder = map[string]int{
	"id":              0,
	"httpserver":      0,
	"config":          1,
	"logging":         1,
	"metrics":         1,
	"filesystem":      1,
	"state":           2,
	"protocol":        2,
	"jobgraph":        2,
	"rpc":             3,
	"checkpoint":      3,
	"shuffle":         3,
	"blob":            3,
	"haservices":      4,
	"worker":          4,
	"dispatcher":      5,
	"jobmaster":       5,
	"resourcemanager": 5,
	"taskmanager":     5,
	"rest":            5,
	"entrypoint":      6,
}

// sideways lists the exceptions: data that names data of the same rung.
var sideways = map[[2]string]string{
	{"protocol", "jobgraph"}: "messages carry job graphs",
}

type source struct {
	path string // relative to the repository, slash-separated
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") && path != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, source{filepath.ToSlash(rel), f, fset})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// component is the first folder below pkg, or "".
func component(path string) string {
	rest, ok := strings.CutPrefix(path, "pkg/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImportsPointDownTheLadder(t *testing.T) {
	for _, s := range sources(t) {
		from := component(s.path)
		if from == "" || s.isTest() || strings.Contains(s.path, "test/") {
			continue
		}
		rung, known := ladder[from]
		if !known {
			t.Errorf("%s: package %s has no rung: add it to the ladder", s.path, from)
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			rest, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			to := component(rest)
			switch {
			case to == "":
				t.Errorf("%s imports %s: packages below pkg import only packages below pkg", s.path, path)
			case to == from || sideways[[2]string{from, to}] != "":
			case ladder[to] >= rung:
				t.Errorf("%s imports %s: from rung %d to rung %d; imports point down", s.path, path, rung, ladder[to])
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented, names := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		dir := filepath.ToSlash(filepath.Dir(s.path))
		if s.isTest() {
			continue
		}
		names[dir] = s.file.Name.Name
		if s.file.Doc != nil {
			doc := s.file.Doc.Text()
			documented[dir] = documented[dir] || strings.HasPrefix(doc, "Package ") || strings.HasPrefix(doc, "Command ")
		}
	}
	for dir, name := range names {
		if !documented[dir] {
			t.Errorf("package %s in %s has no comment that begins with \"Package\" or \"Command\"", name, dir)
		}
	}
}

// TestEveryRPCIsFenced: calls are registered only through rpc.Handle and rpc.HandleAsync, which demand a
// guard, and only the job process, which its TaskManager alone can reach, may let everything pass.
func TestEveryRPCIsFenced(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.path, "pkg/rpc/") || component(s.path) == "worker" || strings.Contains(s.path, "test/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if name := selector(call.Fun); (name == "rpc.Handle" || name == "rpc.HandleAsync") && len(call.Args) > 2 {
				if id, ok := call.Args[2].(*ast.Ident); ok && id.Name == "nil" {
					t.Errorf("%s: a call without a guard", s.fset.Position(call.Pos()))
				}
			}
			return true
		})
	}
}

func TestThingsThatAreNeverDone(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.path, "internal/archtest/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name := selector(call.Fun); {
			case name == "time.Sleep" && s.isTest():
				t.Errorf("%s: time.Sleep in a test: use testing/synctest, or wait for what you wait for", s.fset.Position(call.Pos()))
			case name == "zk.NewLock":
				t.Errorf("%s: zk.Lock does not tell when the lock is lost", s.fset.Position(call.Pos()))
			}
			return true
		})
	}
}

func selector(e ast.Expr) string {
	if index, ok := e.(*ast.IndexListExpr); ok {
		e = index.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + sel.Sel.Name
}

func TestNoFolderIsNamedAfterNothing(t *testing.T) {
	for _, s := range sources(t) {
		for _, part := range strings.Split(filepath.ToSlash(filepath.Dir(s.path)), "/") {
			switch part {
			case "util", "utils", "common", "helpers", "helper", "types", "misc", "base":
				t.Errorf("%s: folder %q: a package earns its folder by a noun of the field", s.path, part)
			}
		}
	}
	if _, err := os.Stat("../../go.mod"); err != nil {
		t.Fatal(err) // the walk above would have found nothing
	}
}

var (
	// namedTests are a folder and tests in it, as test/README.md writes them.
	namedTests = regexp.MustCompile("`([a-z/]+)`: `Test\\w+`(?:, `Test\\w+`)*")
	namedTest  = regexp.MustCompile("`(Test\\w+)`")
)

// TestTestsThatAreNamedExist: test/README.md says which test holds which lesson.
func TestTestsThatAreNamedExist(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.isTest() {
				exists[path.Dir(s.path)+" "+f.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile("../../test/README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, group := range namedTests.FindAllSubmatch(text, -1) {
		for _, name := range namedTest.FindAllSubmatch(group[0], -1) {
			named++
			if key := string(group[1]) + " " + string(name[1]); !exists[key] {
				t.Errorf("test/README.md names %s, which does not exist", key)
			}
		}
	}
	if all := len(namedTest.FindAll(text, -1)); named < 80 || all > named+2 {
		t.Errorf("%d of %d tests are named with their folder: the others are not looked for", named, all)
	}
}
