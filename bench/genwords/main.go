// Command genwords writes the text of workload W1 into a directory: genwords DIR [BYTES].
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/tamias-project/tamias/internal/testkit/words"
)

func main() {
	size := int64(200_000_000)
	var err error
	if len(os.Args) > 2 {
		size, err = strconv.ParseInt(os.Args[2], 10, 64)
	}
	if len(os.Args) < 2 || err != nil {
		fmt.Fprintln(os.Stderr, "usage: genwords DIR [BYTES]")
		os.Exit(2)
	}
	if err = os.MkdirAll(os.Args[1], 0o755); err == nil {
		err = words.Write(os.Args[1], size)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "genwords:", err)
		os.Exit(1)
	}
}
