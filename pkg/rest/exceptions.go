package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type jobExceptions struct {
	History exceptionHistory `json:"exceptionHistory"`
}

type exceptionHistory struct {
	Entries   []exceptionEntry `json:"entries"`
	Truncated bool             `json:"truncated"`
}

type exceptionEntry struct {
	Name          string            `json:"exceptionName"`
	Stacktrace    string            `json:"stacktrace"`
	Timestamp     int64             `json:"timestamp"`
	FailureLabels map[string]string `json:"failureLabels"`
	TaskName      string            `json:"taskName,omitempty"`
	Endpoint      string            `json:"endpoint,omitempty"`
	TaskManagerID id.TaskManager    `json:"taskManagerId,omitempty"`
	Concurrent    []exceptionEntry  `json:"concurrentExceptions"`
}

// maxExceptions is how many entries are shown when the client does not say. Flink's
// web.exception-history-size.
const maxExceptions = 16

func (s *Server) jobExceptions(r *http.Request) (jobExceptions, error) {
	most := maxExceptions
	if q := r.URL.Query().Get("maxExceptions"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 0 {
			return jobExceptions{}, badParameter("query", "maxExceptions", q)
		}
		most = n
	}
	d, err := s.describe(r)
	answer := jobExceptions{exceptionHistory{Entries: []exceptionEntry{}, Truncated: len(d.Failures) > most}}
	for _, f := range d.Failures[:min(most, len(d.Failures))] { // newest first already
		answer.History.Entries = append(answer.History.Entries, exceptionEntry{
			Name: failureClass(f.Failure), Stacktrace: stackOf(f.Failure.Message, f.Failure.Stack), Timestamp: millis(f.At),
			FailureLabels: map[string]string{}, TaskName: f.Task, Endpoint: hostOf(d, f.TaskManager),
			TaskManagerID: f.TaskManager, Concurrent: []exceptionEntry{},
		})
	}
	return answer, err
}

// failureClass stands where Flink shows the class of an exception: what happened, in a word.
func failureClass(f protocol.Failure) string {
	switch {
	case strings.HasPrefix(f.Stack, "goroutine ") || strings.HasPrefix(f.Message, "panic"):
		return "panic"
	case f.Process:
		return "ProcessExited"
	default:
		return "Failure"
	}
}

// stackOf is the message, and the goroutine stack below it when there is one.
func stackOf(message, stack string) string {
	if stack == "" {
		return message
	}
	return message + "\n" + stack
}

// hostOf is the host of a TaskManager as far as the job's present subtasks tell.
func hostOf(d protocol.JobDetails, tm id.TaskManager) string {
	for _, t := range d.Subtasks {
		if tm != "" && t.TaskManager == tm {
			return t.Host
		}
	}
	return ""
}
