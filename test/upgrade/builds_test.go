package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// Versions of the two builds, as REST shows them.
const (
	present = "upgrade-test-present"
	next    = "upgrade-test-next"
)

// change makes a file of the next build.
type change struct {
	file     string
	old, new string
}

// newMember is what messages and records of the next build have and those of this one do not.
const newMember = "\n\tOfTheNextBuild [3]int `cbor:\"100,keyasint\" json:\"of-the-next-build\"`"

// changes are what makes the next build of this tree: it speaks a newer protocol, and what it sends and
// stores has more members, at every level. It still works with the present one.
func changes() []change {
	list := []change{{
		"pkg/protocol/protocol.go",
		fmt.Sprintf("const Version = %d\n", protocol.Version), fmt.Sprintf("const Version = %d\n", protocol.Version+1),
	}}
	for _, s := range []struct{ file, name string }{
		{"pkg/rpc/service.go", "Request"},
		{"pkg/rpc/service.go", "Response"},
		{"pkg/protocol/dispatcher.go", "JobDetails"},
		{"pkg/protocol/execution.go", "Execution"},
		{"pkg/protocol/execution.go", "TaskDeployment"},
		{"pkg/protocol/job_master.go", "RegisterAtJobMasterRequest"},
		{"pkg/protocol/job_master.go", "RegisteredAtJobMaster"},
		{"pkg/protocol/job_master.go", "AcknowledgeCheckpointRequest"},
		{"pkg/protocol/resource_manager.go", "RegisterTaskManagerRequest"},
		{"pkg/protocol/resource_manager.go", "RegisteredTaskManager"},
		{"pkg/protocol/task_manager.go", "JobMasterHeartbeatRequest"},
		{"pkg/protocol/task_manager.go", "JobReport"},
		{"pkg/protocol/task_manager.go", "TriggerCheckpointRequest"},
		{"pkg/protocol/worker.go", "StartWorkerRequest"},
		{"pkg/protocol/worker.go", "WorkerEvent"},
		{"pkg/checkpoint/completed.go", "Completed"},
		{"pkg/haservices/internal/nodes/leaders.go", "Leader"},
		{"pkg/haservices/local/latch.go", "holder"},
		{"pkg/haservices/zookeeper/paths.go", "latchNode"},
		{"pkg/haservices/objects.go", "pointer"},
		{"pkg/haservices/records.go", "Ledger"},
		{"pkg/haservices/records.go", "Intent"},
		{"pkg/haservices/records.go", "JobResult"},
		{"pkg/haservices/jobgraphs.go", "StoredJob"},
	} {
		head := "type " + s.name + " struct {"
		list = append(list, change{s.file, head, head + newMember})
	}
	return list
}

// processes are the programs that are upgraded; clients and the job stay what they are.
var processes = []string{"jobmanager", "taskmanager"}

// build makes programs of one build in a new directory.
func build(t *testing.T, root, version string, list []change, packages ...string) string {
	t.Helper()
	bin := t.TempDir()
	// The same flags as in the Makefile, so that what make has compiled need not be compiled again.
	args := []string{"build", "-trimpath", "-ldflags", "-X github.com/tamias-project/tamias/pkg/entrypoint.Version=" + version, "-o", bin + "/"}
	if len(list) > 0 {
		overlay, err := writeOverlay(t.TempDir(), root, list)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, packages...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", version, err, out)
	}
	return bin
}

// writeOverlay writes changed copies of files, and the list of them that go build takes.
func writeOverlay(dir, root string, list []change) (overlay string, err error) {
	contents := map[string]string{}
	for _, c := range list {
		file := filepath.Join(root, filepath.FromSlash(c.file))
		if contents[file] == "" {
			data, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			contents[file] = string(data)
		}
		if strings.Count(contents[file], c.old) != 1 {
			return "", fmt.Errorf("%s does not have %q once: the change that makes the next build is out of date", c.file, c.old)
		}
		contents[file] = strings.Replace(contents[file], c.old, c.new, 1)
	}
	replace := map[string]string{}
	for file, content := range contents {
		copied := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(file)))
		err = errors.Join(err, os.WriteFile(copied, []byte(content), 0o644))
		replace[file] = copied
	}
	data, errJSON := json.Marshal(map[string]any{"Replace": replace})
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(err, errJSON, os.WriteFile(overlay, data, 0o644))
}

// install makes bin/<program> the program of a build: processes that are started from now on are of it.
func install(t *testing.T, bin, build string) {
	t.Helper()
	for _, program := range processes {
		link := filepath.Join(bin, program)
		err := errors.Join(os.RemoveAll(link), os.Symlink(filepath.Join(build, program), link))
		if err != nil {
			t.Fatal(err)
		}
	}
}
