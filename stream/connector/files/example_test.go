package files_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/stream"
	"github.com/tamias-project/tamias/stream/connector/files"
)

// Lines of text files, in capitals, each exactly once in the files of a directory.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in.txt"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("to be\nor not\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	env := stream.New(stream.WithParallelism(1), stream.WithLogger(zap.NewNop()))
	lines := stream.From(env, "text", files.Lines(in))
	stream.To(stream.Map(lines, strings.ToUpper), "capitals", files.Sink(out, files.Line, files.Suffix(".txt")))
	if err := env.Execute(context.Background(), "capitals"); err != nil {
		log.Fatal(err)
	}

	names, err := filepath.Glob(filepath.Join(out, "part-*.txt"))
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(string(text))
	}
	// Output:
	// TO BE
	// OR NOT
}
