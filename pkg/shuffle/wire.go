package shuffle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tamias-project/tamias/pkg/id"
)

// The wire, all numbers big-endian. A connection begins with the preamble of the producing process:
//
//	"TAMI" version(1) job(16)
//
// followed by messages in both directions, each a header and a payload:
//
//	length(4) channel(4) records(4) kind(1) payload(length)
//
// The producing process numbers the channels of a connection from 1. It sends open, then data, barrier
// and end, and leave at last; the consuming process answers accept or refuse, and sends credit.
const (
	wireVersion  = 1
	preambleSize = 4 + 1 + 16
	headerSize   = 4 + 4 + 4 + 1

	kindOpen    = 16 // payload: input(4), producer and consumer attempt
	kindLeave   = 17
	kindAccept  = 18 // records: initial credit
	kindRefuse  = 19 // payload: the reason. Channel 0: the whole connection
	kindCredit  = 20 // records: frames granted
	attemptSize = 16 + 4 + 4
)

var magic = [4]byte{'T', 'A', 'M', 'I'}

func appendPreamble(b []byte, job id.Job) []byte {
	b = append(b, magic[:]...)
	b = append(b, wireVersion)
	return append(b, job[:]...)
}

// checkPreamble returns the reason to refuse a connection, or nil.
func checkPreamble(b []byte, job id.Job) error {
	switch {
	case [4]byte(b) != magic:
		return errors.New("not a connection of a job process")
	case b[4] != wireVersion:
		return fmt.Errorf("the record protocol has version %d here and %d there", wireVersion, b[4])
	case id.Job(b[5:]) != job:
		return fmt.Errorf("this process runs job %s, not %s", job, id.Job(b[5:]))
	}
	return nil
}

// header precedes each message.
type header struct {
	length, channel, records uint32
	kind                     byte
}

func (h header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.length)
	b = binary.BigEndian.AppendUint32(b, h.channel)
	b = binary.BigEndian.AppendUint32(b, h.records)
	return append(b, h.kind)
}

func readHeader(r io.Reader, scratch []byte) (h header, err error) {
	if _, err := io.ReadFull(r, scratch[:headerSize]); err != nil {
		return h, err
	}
	h = header{
		length:  binary.BigEndian.Uint32(scratch),
		channel: binary.BigEndian.Uint32(scratch[4:]),
		records: binary.BigEndian.Uint32(scratch[8:]),
		kind:    scratch[12],
	}
	if h.length > maxFrame {
		return h, fmt.Errorf("message of %d bytes: a record is larger than %d bytes, or the connection is corrupt", h.length, maxFrame)
	}
	return h, nil
}

// readBody reads the payload of h, appended to b.
func readBody(r io.Reader, h header, b []byte) ([]byte, error) {
	n := len(b)
	if need := n + int(h.length); need > cap(b) {
		b = append(make([]byte, 0, need), b...)
	}
	b = b[:n+int(h.length)]
	_, err := io.ReadFull(r, b[n:])
	return b, err
}

func appendAttempt(b []byte, a id.ExecutionAttempt) []byte {
	b = append(b, a.Vertex[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(a.Subtask))
	return binary.BigEndian.AppendUint32(b, uint32(a.Attempt))
}

func attemptIn(b []byte) id.ExecutionAttempt {
	return id.ExecutionAttempt{
		Vertex:  id.Vertex(b[:16]),
		Subtask: int(binary.BigEndian.Uint32(b[16:])),
		Attempt: int(binary.BigEndian.Uint32(b[20:])),
	}
}

func appendOpen(b []byte, k channelKey) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(k.input))
	b = appendAttempt(b, k.producer)
	return appendAttempt(b, k.consumer)
}

func openIn(b []byte) (k channelKey, err error) {
	if len(b) != 4+2*attemptSize {
		return k, fmt.Errorf("open message of %d bytes", len(b))
	}
	return channelKey{
		input:    int(binary.BigEndian.Uint32(b)),
		producer: attemptIn(b[4:]),
		consumer: attemptIn(b[4+attemptSize:]),
	}, nil
}

func appendBarrier(b []byte, v Barrier) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(v.Checkpoint))
	b = binary.BigEndian.AppendUint64(b, v.Epoch)
	return append(b, v.Dir...)
}

func barrierIn(b []byte) (v Barrier, err error) {
	if len(b) < 16 {
		return v, fmt.Errorf("barrier of %d bytes", len(b))
	}
	return Barrier{
		Checkpoint: int64(binary.BigEndian.Uint64(b)),
		Epoch:      binary.BigEndian.Uint64(b[8:]),
		Dir:        string(b[16:]),
	}, nil
}
