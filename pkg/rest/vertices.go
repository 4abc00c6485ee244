package rest

import (
	"html"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type vertexLine struct {
	ID                 id.Vertex                  `json:"id"`
	SlotSharingGroupID id.Vertex                  `json:"slotSharingGroupId"`
	Name               string                     `json:"name"`
	MaxParallelism     int                        `json:"maxParallelism"`
	Parallelism        int                        `json:"parallelism"`
	Status             protocol.TaskState         `json:"status"`
	StartTime          int64                      `json:"start-time"`
	EndTime            int64                      `json:"end-time"`
	Duration           int64                      `json:"duration"`
	Tasks              map[protocol.TaskState]int `json:"tasks"`
	Metrics            ioMetrics                  `json:"metrics"`
}

type ioMetrics struct {
	ReadBytes            int64   `json:"read-bytes"`
	ReadBytesComplete    bool    `json:"read-bytes-complete"`
	WriteBytes           int64   `json:"write-bytes"`
	WriteBytesComplete   bool    `json:"write-bytes-complete"`
	ReadRecords          int64   `json:"read-records"`
	ReadRecordsComplete  bool    `json:"read-records-complete"`
	WriteRecords         int64   `json:"write-records"`
	WriteRecordsComplete bool    `json:"write-records-complete"`
	BackPressuredTime    int64   `json:"accumulated-backpressured-time"`
	IdleTime             int64   `json:"accumulated-idle-time"`
	BusyTime             float64 `json:"accumulated-busy-time"`
}

func (m *ioMetrics) add(t protocol.TaskMetrics) {
	m.ReadBytes += t.BytesIn
	m.WriteBytes += t.BytesOut
	m.ReadRecords += t.RecordsIn
	m.WriteRecords += t.RecordsOut
	m.BackPressuredTime += t.BackPressuredMillis
	m.IdleTime += t.IdleMillis
	m.BusyTime += float64(t.BusyMillis)
}

// metricsOf sums up; the result is complete when every subtask of the vertex has reported.
func metricsOf(subtasks []protocol.SubtaskDetails, parallelism int) ioMetrics {
	all := len(subtasks) >= parallelism
	m := ioMetrics{ReadBytesComplete: all, WriteBytesComplete: all, ReadRecordsComplete: all, WriteRecordsComplete: all}
	for _, t := range subtasks {
		m.add(t.Execution.Metrics)
	}
	return m
}

// subtasksOf selects the subtasks of one vertex, by index.
func subtasksOf(d protocol.JobDetails, v id.Vertex) []protocol.SubtaskDetails {
	var of []protocol.SubtaskDetails
	for _, t := range d.Subtasks {
		if t.Execution.Attempt.Vertex == v {
			of = append(of, t)
		}
	}
	slices.SortFunc(of, func(a, b protocol.SubtaskDetails) int {
		return a.Execution.Attempt.Subtask - b.Execution.Attempt.Subtask
	})
	return of
}

func vertexLineOf(d protocol.JobDetails, v jobgraph.Vertex, now time.Time) vertexLine {
	subtasks := subtasksOf(d, v.ID)
	line := vertexLine{
		ID: v.ID, Name: v.Name, MaxParallelism: d.Graph.MaxParallelism, Parallelism: v.Parallelism,
		Tasks: map[protocol.TaskState]int{}, Metrics: metricsOf(subtasks, v.Parallelism),
	}
	for _, state := range taskStates {
		line.Tasks[state] = 0
	}
	var start, end time.Time
	ended := len(subtasks) > 0
	for _, t := range subtasks {
		e := t.Execution
		line.Tasks[e.State]++
		if !e.StartedAt.IsZero() && (start.IsZero() || e.StartedAt.Before(start)) {
			start = e.StartedAt
		}
		if t.EndedAt.After(end) {
			end = t.EndedAt
		}
		ended = ended && e.State.Terminal()
	}
	if !ended {
		end = time.Time{}
	}
	line.Tasks[protocol.Created] += max(0, v.Parallelism-len(subtasks)) // those that nobody has reported yet
	line.Status = aggregate(line.Tasks, v.Parallelism)
	line.StartTime, line.EndTime, line.Duration = millis(start), millis(end), duration(start, end, now)
	return line
}

// aggregate is the one state shown for a vertex: the worst thing that any subtask is in.
func aggregate(count map[protocol.TaskState]int, parallelism int) protocol.TaskState {
	if count[protocol.Finished] == parallelism {
		return protocol.Finished
	}
	for _, state := range []protocol.TaskState{
		protocol.Failed, protocol.Canceling, protocol.Canceled, protocol.Initializing, protocol.Running,
		protocol.Deploying, protocol.Scheduled, protocol.Reconciling, protocol.Finished,
	} {
		if count[state] == 0 {
			continue
		}
		if state == protocol.Finished { // some have ended while others have not begun
			return protocol.Running
		}
		return state
	}
	return protocol.Created
}

// descriptionOf is HTML: the names of the chained operators.
func descriptionOf(v jobgraph.Vertex) string {
	if len(v.Operators) == 0 {
		return html.EscapeString(v.Name) + "<br/>"
	}
	var b strings.Builder
	for i, o := range v.Operators {
		if i > 0 {
			b.WriteString("+- ")
		}
		b.WriteString(html.EscapeString(o.Name))
		b.WriteString("<br/>")
	}
	return b.String()
}

type vertexDetails struct {
	ID             id.Vertex            `json:"id"`
	Name           string               `json:"name"`
	Parallelism    int                  `json:"parallelism"`
	MaxParallelism int                  `json:"maxParallelism"`
	Now            int64                `json:"now"`
	Subtasks       []subtaskLine        `json:"subtasks"`
	Aggregated     aggregatedStatistics `json:"aggregated"`
}

type subtaskLine struct {
	Subtask        int                          `json:"subtask"`
	Status         protocol.TaskState           `json:"status"`
	Attempt        int                          `json:"attempt"`
	Endpoint       string                       `json:"endpoint"`
	StartTime      int64                        `json:"start-time"`
	StartTimeOld   int64                        `json:"start_time"` // the same under its older name
	EndTime        int64                        `json:"end-time"`
	Duration       int64                        `json:"duration"`
	Metrics        ioMetrics                    `json:"metrics"`
	TaskManagerID  id.TaskManager               `json:"taskmanager-id"`
	StatusDuration map[protocol.TaskState]int64 `json:"status-duration"`
}

func (s *Server) vertex(r *http.Request) (vertexDetails, error) {
	vertex, err := vertexParameter(r)
	if err != nil {
		return vertexDetails{}, err
	}
	d, err := s.describe(r)
	if err != nil {
		return vertexDetails{}, err
	}
	v := d.Graph.Vertex(vertex)
	if v == nil {
		return vertexDetails{}, notFound("JobVertex %s not found", vertex)
	}
	now := time.Now()
	answer := vertexDetails{
		ID: v.ID, Name: v.Name, Parallelism: v.Parallelism, MaxParallelism: d.Graph.MaxParallelism,
		Now: now.UnixMilli(), Subtasks: []subtaskLine{},
	}
	for _, t := range subtasksOf(d, vertex) {
		answer.Subtasks = append(answer.Subtasks, subtaskLineOf(t, now))
	}
	answer.Aggregated = statisticsOf(answer.Subtasks)
	return answer, nil
}

func subtaskLineOf(t protocol.SubtaskDetails, now time.Time) subtaskLine {
	e := t.Execution
	line := subtaskLine{
		Subtask: e.Attempt.Subtask, Status: e.State, Attempt: e.Attempt.Attempt, Endpoint: t.Host,
		StartTime: millis(e.StartedAt), StartTimeOld: millis(e.StartedAt), EndTime: millis(t.EndedAt),
		Duration: duration(e.StartedAt, t.EndedAt, now), Metrics: metricsOf([]protocol.SubtaskDetails{t}, 1),
		TaskManagerID: t.TaskManager, StatusDuration: map[protocol.TaskState]int64{},
	}
	for _, state := range taskStates {
		line.StatusDuration[state] = -1 // not known for earlier states
	}
	line.StatusDuration[e.State] = line.Duration
	return line
}
