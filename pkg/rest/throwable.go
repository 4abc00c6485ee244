package rest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// throwable is how Flink sends an error inside an answer. Java clients read only the serialized object,
// all others only the two texts.
type throwable struct {
	Class      string `json:"class"`
	StackTrace string `json:"stack-trace"`
	Serialized string `json:"serialized-throwable"`
}

func newThrowable(class, message, stack string) *throwable {
	message = strings.TrimPrefix(message, class+": ")
	trace := class + ": " + stackOf(message, stack)
	return &throwable{
		Class:      class,
		StackTrace: trace,
		Serialized: base64.StdEncoding.EncodeToString(javaThrowable(class, message, trace)),
	}
}

// The parts of a Java object stream with one org.apache.flink.util.SerializedThrowable: class
// descriptors and references, between which its strings stand.
var (
	javaHead = mustHex("aced0005737200296f72672e6170616368652e666c696e6b2e7574696c2e53657269616c697a65645468726f7761626c" +
		"6565169df51fa713f30200034c001966756c6c537472696e676966696564537461636b54726163657400124c6a617661" +
		"2f6c616e672f537472696e673b4c00166f726967696e616c4572726f72436c6173734e616d6571007e00015b00137365" +
		"7269616c697a6564457863657074696f6e7400025b42787200136a6176612e6c616e672e457863657074696f6ed0fd1f" +
		"3e1a3b1cc4020000787200136a6176612e6c616e672e5468726f7761626c65d5c635273977b8cb0300044c0005636175" +
		"73657400154c6a6176612f6c616e672f5468726f7761626c653b4c000d64657461696c4d65737361676571007e00015b" +
		"000a737461636b547261636574001e5b4c6a6176612f6c616e672f537461636b5472616365456c656d656e743b4c0014" +
		"73757070726573736564457863657074696f6e737400104c6a6176612f7574696c2f4c6973743b787070")
	javaAfterMessage = mustHex("7572001e5b4c6a6176612e6c616e672e537461636b5472616365456c656d656e743b02462a3c3cfd2239020000787000" +
		"0000007372001f6a6176612e7574696c2e436f6c6c656374696f6e7324456d7074794c6973747ab817b43ca79ede0200" +
		"00787078")
	javaTail = mustHex("757200025b42acf317f8060854e0020000787000000000")
)

func javaThrowable(class, message, trace string) []byte {
	b := append([]byte(nil), javaHead...)
	b = appendJavaString(b, message)
	b = append(b, javaAfterMessage...)
	b = appendJavaString(b, trace)
	b = appendJavaString(b, class)
	return append(b, javaTail...)
}

// maxJavaString is the longest string, in bytes, that the short form of the stream holds.
const maxJavaString = 65535

// appendJavaString appends s in modified UTF-8, cut off at the longest possible length.
func appendJavaString(b []byte, s string) []byte {
	var text []byte
	for _, r := range s {
		next := len(text)
		switch {
		case r == 0:
			text = append(text, 0xc0, 0x80)
		case r > 0xffff: // a surrogate pair, each half in three bytes
			r -= 0x10000
			text = appendThree(appendThree(text, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			text = utf8.AppendRune(text, r)
		}
		if len(text) > maxJavaString {
			text = text[:next]
			break
		}
	}
	b = append(b, 0x74)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

func appendThree(b []byte, r rune) []byte {
	return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
