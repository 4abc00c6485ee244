package logging

import (
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/id"
)

type tokenFields struct{ token id.FencingToken }

func (f tokenFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("fencing-token", f.token.String())
	enc.AddUint64("epoch", f.token.Epoch())
	return nil
}
