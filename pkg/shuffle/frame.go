package shuffle

import "sync"

const (
	// FrameSize is the number of payload bytes at which a frame is full. A frame ends with a whole record,
	// so it may be longer by one.
	FrameSize = 32 << 10
	// slack is room behind FrameSize, so that the last record of a frame rarely moves it.
	slack = 2 << 10
	// maxFrame bounds a message: the largest record and a little more.
	maxFrame = 256 << 20
)

// Frame is a batch of encoded records. Frames are recycled: whoever holds one is its only owner.
type Frame struct {
	// Data holds whole records, one behind the other.
	Data []byte
	// Records counts them.
	Records int
}

var frames = sync.Pool{New: func() any { return &Frame{Data: make([]byte, 0, FrameSize+slack)} }}

func newFrame() *Frame { return frames.Get().(*Frame) }

// recycle gives f back; a frame that one huge record has blown up is left to the garbage collector.
func (f *Frame) recycle() {
	if cap(f.Data) > 4*FrameSize {
		return
	}
	f.Data, f.Records = f.Data[:0], 0
	frames.Put(f)
}

// Barrier separates the records before a checkpoint from those after it.
type Barrier struct {
	Checkpoint int64
	// Epoch of the JobMaster that triggered the checkpoint.
	Epoch uint64
	// Dir receives the state files.
	Dir string
}

// Kind says what an Item is.
type Kind uint8

const (
	// Data is a frame of records.
	Data Kind = iota + 1
	// BarrierEvent is a barrier.
	BarrierEvent
	// EndEvent: no more records on this channel. Barriers may still follow.
	EndEvent
)

// Item is what arrives on a channel.
type Item struct {
	// Channel counts from 0 over all inputs of the gate.
	Channel int
	Kind    Kind
	// Frame is set for Data and belongs to the receiver until Gate.Release.
	Frame *Frame
	// Barrier is set for BarrierEvent.
	Barrier Barrier
}
