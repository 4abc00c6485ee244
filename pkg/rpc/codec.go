package rpc

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Messages are CBOR with numbered fields (RFC 8949): one definition of each message, in Go, and fields
// of a newer peer are skipped. Times keep their nanoseconds.
var (
	encoder = must(cbor.EncOptions{Time: cbor.TimeRFC3339Nano, TextMarshaler: cbor.TextMarshalerNone}.EncMode())
	decoder = must(cbor.DecOptions{MaxArrayElements: 1 << 22, MaxMapPairs: 1 << 22}.DecMode())
)

// Marshal encodes a message.
func Marshal(v any) ([]byte, error) { return encoder.Marshal(v) }

// Unmarshal decodes a message; unknown fields are ignored.
func Unmarshal(data []byte, v any) error { return decoder.Unmarshal(data, v) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("rpc: %v", err))
	}
	return v
}

// codec is the gRPC codec of Request and Response.
type codec struct{}

func (codec) Marshal(v any) ([]byte, error)      { return Marshal(v) }
func (codec) Unmarshal(data []byte, v any) error { return Unmarshal(data, v) }
func (codec) Name() string                       { return "tamias-cbor" }
