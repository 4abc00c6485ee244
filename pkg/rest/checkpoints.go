package rest

import (
	"math"
	"net/http"
	"time"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type checkpointStatistics struct {
	Counts struct {
		Restored   int `json:"restored"`
		Total      int `json:"total"`
		InProgress int `json:"in_progress"`
		Completed  int `json:"completed"`
		Failed     int `json:"failed"`
	} `json:"counts"`
	Summary struct {
		CheckpointedSize  summaryStatistics `json:"checkpointed_size"`
		StateSize         summaryStatistics `json:"state_size"`
		EndToEndDuration  summaryStatistics `json:"end_to_end_duration"`
		AlignmentBuffered summaryStatistics `json:"alignment_buffered"`
		ProcessedData     summaryStatistics `json:"processed_data"`
		PersistedData     summaryStatistics `json:"persisted_data"`
	} `json:"summary"`
	Latest struct {
		Completed *checkpointLine     `json:"completed"`
		Savepoint *checkpointLine     `json:"savepoint"`
		Failed    *checkpointLine     `json:"failed"`
		Restored  *restoredCheckpoint `json:"restored"`
	} `json:"latest"`
	History []checkpointLine `json:"history"`
}

type restoredCheckpoint struct {
	ID               int64  `json:"id"`
	RestoreTimestamp int64  `json:"restore_timestamp"` // -1 when it is not known
	IsSavepoint      bool   `json:"is_savepoint"`
	ExternalPath     string `json:"external_path"`
}

// checkpointLine is Flink's CheckpointStatistics. className says which of the fields at the end apply.
type checkpointLine struct {
	ClassName          string              `json:"className"` // completed, in_progress, failed
	ID                 int64               `json:"id"`
	Status             string              `json:"status"`
	IsSavepoint        bool                `json:"is_savepoint"`
	SavepointFormat    *string             `json:"savepointFormat"`
	TriggerTimestamp   int64               `json:"trigger_timestamp"`
	LatestAckTimestamp int64               `json:"latest_ack_timestamp"`
	CheckpointedSize   int64               `json:"checkpointed_size"`
	StateSize          int64               `json:"state_size"`
	EndToEndDuration   int64               `json:"end_to_end_duration"`
	AlignmentBuffered  int64               `json:"alignment_buffered"`
	ProcessedData      int64               `json:"processed_data"`
	PersistedData      int64               `json:"persisted_data"`
	NumSubtasks        int                 `json:"num_subtasks"`
	NumAcknowledged    int                 `json:"num_acknowledged_subtasks"`
	CheckpointType     string              `json:"checkpoint_type"`
	Tasks              map[string]struct{} `json:"tasks"`
	ExternalPath       *string             `json:"external_path,omitempty"`
	Discarded          *bool               `json:"discarded,omitempty"`
	FailureTimestamp   *int64              `json:"failure_timestamp,omitempty"`
	FailureMessage     *string             `json:"failure_message,omitempty"`
}

func (s *Server) checkpoints(r *http.Request) (checkpointStatistics, error) {
	var answer checkpointStatistics
	d, err := s.describeCheckpointed(r)
	if err != nil {
		return answer, err
	}
	c, now := d.Checkpoints, time.Now()
	answer.Counts.Restored, answer.Counts.InProgress = c.Restored, c.InProgress
	answer.Counts.Completed, answer.Counts.Failed = c.Completed, c.Failed
	answer.Counts.Total = c.Completed + c.Failed + c.InProgress
	answer.History = []checkpointLine{}
	var sizes, durations []int64
	for _, cp := range c.History {
		line := checkpointLineOf(cp, subtaskCount(d), now)
		answer.History = append(answer.History, line)
		switch {
		case line.ClassName == "completed":
			sizes, durations = append(sizes, line.StateSize), append(durations, line.EndToEndDuration)
		case line.ClassName == "failed" && answer.Latest.Failed == nil: // newest first
			answer.Latest.Failed = &line
		}
	}
	if c.Latest != nil {
		line := checkpointLineOf(*c.Latest, subtaskCount(d), now)
		answer.Latest.Completed = &line
	}
	if r := c.LatestRestored; r != nil {
		answer.Latest.Restored = &restoredCheckpoint{ID: r.ID, RestoreTimestamp: millis(r.At), ExternalPath: r.Path}
	}
	answer.Summary.CheckpointedSize, answer.Summary.StateSize = summaryOf(sizes), summaryOf(sizes)
	answer.Summary.EndToEndDuration = summaryOf(durations)
	return answer, nil
}

// describeCheckpointed is describe for jobs with checkpointing; for others there is nothing to find.
func (s *Server) describeCheckpointed(r *http.Request) (protocol.JobDetails, error) {
	d, err := s.describe(r)
	if err == nil && d.Graph.Checkpointing.Interval <= 0 {
		err = notFound("Checkpointing is not enabled for this job (%s).", d.Overview.ID)
	}
	return d, err
}

func subtaskCount(d protocol.JobDetails) (n int) {
	for _, v := range d.Graph.Vertices {
		n += v.Parallelism
	}
	return n
}

func checkpointLineOf(cp protocol.CheckpointInfo, subtasks int, now time.Time) checkpointLine {
	line := checkpointLine{
		ID: cp.ID, Status: cp.Status, TriggerTimestamp: millis(cp.Triggered), LatestAckTimestamp: millis(cp.Ended),
		CheckpointedSize: cp.Bytes, StateSize: cp.Bytes, EndToEndDuration: max(0, duration(cp.Triggered, cp.Ended, now)),
		NumSubtasks: subtasks, CheckpointType: "CHECKPOINT", Tasks: map[string]struct{}{},
	}
	switch cp.Status {
	case "COMPLETED":
		discarded := false
		line.ClassName, line.NumAcknowledged = "completed", subtasks
		line.ExternalPath, line.Discarded = &cp.Path, &discarded
	case "FAILED":
		at := millis(cp.Ended)
		line.ClassName, line.FailureTimestamp, line.FailureMessage = "failed", &at, &cp.Failure
	default:
		line.ClassName = "in_progress"
	}
	return line
}

type checkpointConfig struct {
	Mode            string `json:"mode"`
	Interval        int64  `json:"interval"`
	Timeout         int64  `json:"timeout"`
	MinPause        int64  `json:"min_pause"`
	MaxConcurrent   int    `json:"max_concurrent"`
	Externalization struct {
		Enabled              bool `json:"enabled"`
		DeleteOnCancellation bool `json:"delete_on_cancellation"`
	} `json:"externalization"`
	StateBackend               string `json:"state_backend"`
	CheckpointStorage          string `json:"checkpoint_storage"`
	UnalignedCheckpoints       bool   `json:"unaligned_checkpoints"`
	TolerableFailedCheckpoints int    `json:"tolerable_failed_checkpoints"`
	AlignedCheckpointTimeout   int64  `json:"aligned_checkpoint_timeout"`
	CheckpointsAfterTasksEnd   bool   `json:"checkpoints_after_tasks_finish"`
	ChangelogEnabled           bool   `json:"state_changelog_enabled"`
	MaterializationInterval    int64  `json:"changelog_periodic_materialization_interval"`
	ChangelogStorage           string `json:"changelog_storage"`
}

func (s *Server) checkpointConfig(r *http.Request) (checkpointConfig, error) {
	d, err := s.describeCheckpointed(r)
	c := d.Graph.Checkpointing
	answer := checkpointConfig{
		Mode: "exactly_once", Interval: c.Interval.Milliseconds(), Timeout: c.Timeout.Milliseconds(),
		MinPause: c.MinPause.Milliseconds(), MaxConcurrent: 1, StateBackend: "hashmap",
		CheckpointStorage: c.Dir, TolerableFailedCheckpoints: c.TolerableFailures,
		CheckpointsAfterTasksEnd: true, MaterializationInterval: math.MaxInt64,
	}
	answer.Externalization.Enabled = c.Retention != jobgraph.RetainNothing
	answer.Externalization.DeleteOnCancellation = c.Retention != jobgraph.RetainOnCancellation
	return answer, err
}
