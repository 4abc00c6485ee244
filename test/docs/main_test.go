package docs_test

import (
	"os"
	"testing"

	"github.com/tamias-project/tamias/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
