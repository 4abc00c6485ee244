package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	readBuffer  = 256 << 10
	longestLine = 64 << 20
	// batchBytes is how much one Read returns at most, and one line more.
	batchBytes = 1 << 20
)

// lineReader cuts a stretch of a file into lines.
type lineReader struct {
	open func(path string, offset int64) (io.ReadCloser, error)
	file io.ReadCloser // nil between stretches
	path string
	to   int64
	// buf[first:last] has been read from the file and not been returned yet; offset is where it begins in
	// the file. No LF is in buf[first:searched].
	buf                   []byte
	first, last, searched int
	offset                int64
	atEnd                 bool // the file has no more
}

// begin opens the file of a stretch and skips what belongs to the stretch before.
func (l *lineReader) begin(s stretch) error {
	from := s.From
	if !s.Aligned {
		from-- // if that is an LF, a line begins at From
	}
	f, err := l.open(s.File, from)
	if err != nil {
		return err
	}
	if l.buf == nil {
		l.buf = make([]byte, readBuffer)
	}
	*l = lineReader{open: l.open, file: f, path: s.File, to: s.To, buf: l.buf, offset: from}
	if s.Aligned {
		return nil
	}
	if _, err := l.line(false); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// end closes the file.
func (l *lineReader) end() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// next returns the next line that begins in the stretch, or io.EOF. With keep it fails with errWouldMove
// rather than touch the memory of earlier lines.
func (l *lineReader) next(keep bool) ([]byte, error) {
	if l.offset >= l.to {
		return nil, io.EOF
	}
	line, err := l.line(keep)
	if err != nil && errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s ends at %d now, it had %d bytes or more when the job began: files must not change while a job reads them", l.path, l.offset, l.to)
	}
	return line, err
}

// line returns the next line of the file.
func (l *lineReader) line(keep bool) ([]byte, error) {
	for {
		if i := bytes.IndexByte(l.buf[l.searched:l.last], '\n'); i >= 0 {
			return l.take(l.searched + i + 1), nil
		}
		l.searched = l.last
		if l.atEnd {
			if l.first == l.last {
				return nil, io.EOF
			}
			return l.take(l.last), nil // without LF
		}
		if keep {
			return nil, errWouldMove
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// take returns the line that ends before buf[after].
func (l *lineReader) take(after int) []byte {
	end := after
	if end > l.first && l.buf[end-1] == '\n' {
		end--
	}
	if end > l.first && l.buf[end-1] == '\r' {
		end--
	}
	line := l.buf[l.first:end:end]
	l.offset += int64(after - l.first)
	l.first, l.searched = after, after
	return line
}

// fill reads more of the file, behind what is there.
func (l *lineReader) fill() error {
	copy(l.buf, l.buf[l.first:l.last])
	l.last -= l.first
	l.searched -= l.first
	l.first = 0
	if l.last == len(l.buf) {
		if len(l.buf) >= longestLine {
			return fmt.Errorf("%s: the line at %d is longer than %d bytes", l.path, l.offset, longestLine)
		}
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	n, err := l.file.Read(l.buf[l.last:])
	l.last += n
	if errors.Is(err, io.EOF) {
		l.atEnd = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s at %d: %w", l.path, l.offset+int64(l.last), err)
	}
	return nil
}
