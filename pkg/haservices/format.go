package haservices

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Format is the form of the records that this build stores, and the newest that it reads. A record says its
// own in the member "format". It rises when an older build would misunderstand a record although it ignores
// members that it does not know. The release in which it rises reads both forms and writes the one before,
// so that it can be mixed with its predecessor; the release after it writes the new one.
const Format = 1

// ErrNewerFormat: a record was written by a newer build, in a form that this build does not know. It is left as it
// is. Retrying does not help; that build, or a newer one, can go on with it.
var ErrNewerFormat = errors.New("ha: record of a newer build")

// EncodeRecord is the JSON of v, a struct that always has one, with its format as the first member.
func EncodeRecord(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil || len(data) < 2 || data[0] != '{' {
		panic(fmt.Sprintf("haservices: %T has no JSON form with members: %v", v, err))
	}
	head := fmt.Appendf(nil, `{"format":%d,`, Format)
	if data[1] == '}' {
		head = head[:len(head)-1]
	}
	return append(head, data[1:]...)
}

// DecodeRecord reads a record into v, which is then of no use after an error: ErrNewerFormat, or that of the
// JSON. Members that v does not have are ignored, and without a format it is the first.
func DecodeRecord(data []byte, v any) error {
	var record struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return err
	}
	if record.Format > Format {
		return fmt.Errorf("%w: its format is %d, this build knows up to %d; it is left as it is: run the build that wrote it, or a newer one",
			ErrNewerFormat, record.Format, Format)
	}
	return json.Unmarshal(data, v)
}

// PatchRecord replaces the members of a record that v, a struct, has. The others stay: its format, and what only a
// newer build knows. The errors are those of DecodeRecord.
func PatchRecord(data []byte, v any) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := DecodeRecord(data, &members); err != nil {
		return nil, err
	}
	patch, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(patch, &members) // adds to what is there
	}
	if err != nil {
		return nil, fmt.Errorf("patch a record with %T: %w", v, err)
	}
	return json.Marshal(members)
}
