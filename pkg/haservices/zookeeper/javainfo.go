package zookeeper

import (
	"encoding/binary"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// What Java's object stream says before and between the values of a connection_info node: the stream's
// header, and the class descriptor of java.util.UUID with its two longs.
const (
	streamHeader = "\xac\xed\x00\x05"
	blockData    = 0x77 // short block: one byte of length
	longBlock    = 0x7a // four bytes of length
	uuidObject   = "\x73\x72\x00\x0ejava.util.UUID\xbc\x99\x03\xf7\x98\x6d\x85\x2f\x02\x00\x02" +
		"J\x00\x0cleastSigBits" + "J\x00\x0bmostSigBits" + "\x78\x70"
)

// connectionInfo is a leader as Flink's clients read it: ObjectOutputStream.writeUTF(address), then
// writeObject(session ID). Addresses are ASCII, so Java's modified UTF-8 is no concern.
func connectionInfo(leader haservices.LeaderInformation) []byte {
	b := []byte(streamHeader)
	if n := 2 + len(leader.Address); n <= 0xff {
		b = append(b, blockData, byte(n))
	} else {
		b = binary.BigEndian.AppendUint32(append(b, longBlock), uint32(n))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(leader.Address)))
	b = append(b, leader.Address...)
	b = append(b, uuidObject...)
	b = append(b, leader.Token[8:]...) // least significant bits first
	return append(b, leader.Token[:8]...)
}
