package process

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

const (
	// outputTail is how much of what a process printed last is looked at when it has ended, in bytes.
	outputTail = 64 << 10
	// shownLines of it are shown when there is no stack among them.
	shownLines = 20
	// shownStack bounds a stack, in bytes.
	shownStack = 16 << 10
)

// Process is one job process. It implements taskmanager.Process.
type Process struct {
	job     id.Job
	dir     string // removed at the end
	out     string // file with what user code printed
	log     *zap.Logger
	runner  *groupRunner
	client  *plugin.Client
	gateway rpc.Gateway
	done    chan struct{}
	failure *protocol.Failure // set before done is closed
}

// Gateway implements taskmanager.Process.
func (p *Process) Gateway() rpc.Gateway { return p.gateway }

// Done implements taskmanager.Process.
func (p *Process) Done() <-chan struct{} { return p.done }

// Failure implements taskmanager.Process.
func (p *Process) Failure() *protocol.Failure { return p.failure }

// Kill implements taskmanager.Process.
func (p *Process) Kill() { p.runner.kill() }

// PID of the process, which is the ID of its group as well.
func (p *Process) PID() int { return p.runner.cmd.Process.Pid }

// clean waits for what go-plugin runs, removes files and closes done. The process has ended or been killed.
func (p *Process) clean() {
	if p.runner.running() {
		<-p.runner.exited
	}
	p.client.Kill() // the process is dead: this ends go-plugin's connection and goroutines
	p.failure = failure(p.runner.end(), tail(p.out))
	if err := os.RemoveAll(p.dir); err != nil {
		p.log.Warn("directory of the job process not removed", zap.String("path", p.dir), zap.Error(err))
	}
	close(p.done)
}

// failure puts an end into words: the line that says what happened, and the stack or the last lines.
func failure(end string, printed []byte) *protocol.Failure {
	f := &protocol.Failure{Message: "job process ended: " + end, Process: true}
	if at := panicAt(printed); at >= 0 {
		f.Stack = string(printed[at:min(len(printed), at+shownStack)])
		line, _, _ := strings.Cut(f.Stack, "\n")
		f.Message += ": " + line
		return f
	}
	lines := strings.Split(strings.TrimRight(string(printed), "\n"), "\n")
	if last := lines[len(lines)-1]; last != "" {
		f.Message += ": " + last
		f.Stack = strings.Join(lines[max(0, len(lines)-shownLines):], "\n")
	}
	return f
}

// panicAt finds the last report of the Go runtime about why it ends the process, or returns -1.
func panicAt(printed []byte) int {
	at := -1
	for _, mark := range []string{"panic: ", "fatal error: "} {
		if bytes.HasPrefix(printed, []byte(mark)) {
			at = max(at, 0)
		}
		if i := bytes.LastIndex(printed, []byte("\n"+mark)); i >= 0 {
			at = max(at, i+1)
		}
	}
	return at
}

// tail returns the end of a file, from the beginning of a line.
func tail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if _, err := f.Seek(-outputTail, io.SeekEnd); err != nil {
		printed, _ := io.ReadAll(f) // shorter than the tail; what can be read is shown
		return printed
	}
	printed, _ := io.ReadAll(f)
	_, printed, _ = bytes.Cut(printed, []byte("\n"))
	return printed
}

// jobLogName is the name under which go-plugin asks for the log of the process itself.
const jobLogName = "job-process"

// pluginLog separates what the job says, which goes to the log as it is, from what go-plugin says about
// itself, which interests nobody above Debug: the TaskManager tells a process's end better.
type pluginLog struct {
	hclog.Logger
	job hclog.Logger
}

func newPluginLog(log *zap.Logger) hclog.Logger {
	return pluginLog{
		Logger: logging.NewHclog(log.With(logging.Component("go-plugin"))),
		job:    logging.NewHclog(log.With(logging.Component("job"))),
	}
}

// Named implements hclog.Logger.
func (l pluginLog) Named(name string) hclog.Logger {
	if name == jobLogName {
		return l.job
	}
	return l
}

// Info implements hclog.Logger.
func (l pluginLog) Info(msg string, args ...any) { l.Debug(msg, args...) }

// Warn implements hclog.Logger.
func (l pluginLog) Warn(msg string, args ...any) { l.Debug(msg, args...) }

// Error implements hclog.Logger.
func (l pluginLog) Error(msg string, args ...any) { l.Debug(msg, args...) }
