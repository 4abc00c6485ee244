package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a file system with some files.
func memory(t testing.TB, contents map[string]string) filesystem.Resolver {
	t.Helper()
	fs := filesystem.NewMemory()
	for name, content := range contents {
		if err := fs.Create(t.Context(), name, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	return filesystem.Resolver{"file": fs}
}

func linesIn(fs filesystem.Resolver, paths ...string) source[string] {
	s := Lines(paths...).(source[string])
	s.fs = fs
	return s
}

// share is what the runtime gives a subtask.
func share(t testing.TB, s stream.Source[string], subtask, parallelism int) []stream.Split {
	t.Helper()
	all, err := s.Splits(t.Context(), parallelism)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b stream.Split) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("splits are not in the order of their IDs")
	}
	var mine []stream.Split
	for i := subtask; i < len(all); i += parallelism {
		mine = append(mine, all[i])
	}
	return mine
}

// readLines reads until the end, or most lines.
func readLines(t testing.TB, r stream.Reader[string], batch, most int) (lines []string) {
	t.Helper()
	for len(lines) < most {
		records := make([]string, min(batch, most-len(lines)))
		n, err := r.Read(t.Context(), records)
		lines = append(lines, records[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func openReader(t testing.TB, s stream.Source[string], splits []stream.Split) stream.Reader[string] {
	t.Helper()
	r, err := s.Open(t.Context(), stream.Subtask{}, splits)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readAll(t testing.TB, s stream.Source[string], parallelism int) (lines []string) {
	t.Helper()
	for subtask := range parallelism {
		r := openReader(t, s, share(t, s, subtask, parallelism))
		lines = append(lines, readLines(t, r, 7, 1<<30)...)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func TestFind(t *testing.T) {
	fs := memory(t, map[string]string{
		"/in/a.txt": "1", "/in/b.txt": "22", "/in/c.csv": "", "/in/sub/d.txt": "4444", "/in/.hidden": "x", "/in/_tmp/e.txt": "y", "/other/a.txt": "z",
		"/zip/a.txt.gz": "?",
	})
	for _, tc := range []struct {
		paths, want string
	}{
		{"/in", "/in/a.txt /in/b.txt /in/c.csv /in/sub/d.txt"},
		{"/in/*.txt", "/in/a.txt /in/b.txt"},
		{"/*/a.txt", "/in/a.txt /other/a.txt"},
		{"/in/s*", "/in/sub/d.txt"},
		{"/in/[ab].txt /in/a.txt /in/.hidden", "/in/.hidden /in/a.txt /in/b.txt"},
		{"file:///in/?.csv", "file:///in/c.csv"},
		{"/none", "error: find the files of /none: stat /none: filesystem: not found"},
		{"/in/*.gz", "error: no file matches /in/*.gz"},
		{"/zip", "error: find the files of /zip: /zip/a.txt.gz is compressed, by its name: decompress it first"},
		{"/in/[", "error: find the files of /in/[: syntax error in pattern"},
		{"s3://b/x", `error: filesystem: s3://b/x: scheme "s3" is not supported (supported: file)`},
	} {
		found, err := find(t.Context(), fs, strings.Fields(tc.paths))
		var got []string
		for _, f := range found {
			got = append(got, f.path)
		}
		if err != nil {
			got = []string{"error: " + err.Error()}
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: got %s, want %s", tc.paths, s, tc.want)
		}
	}
}

func TestLineEnds(t *testing.T) {
	for content, want := range map[string][]string{
		"":               nil,
		"\n":             {""},
		"a":              {"a"},
		"a\n":            {"a"},
		"a\r\nb\n\n\r\n": {"a", "b", "", ""},
		"a\rb\n\nc\r":    {"a\rb", "", "c"},
	} {
		if got := readAll(t, linesIn(memory(t, map[string]string{"/f": content}), "/f"), 1); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

// TestEveryLineOnce cuts random files into random parts: each line must come once, whatever the cut, the
// number of subtasks, and where a reader was stopped and opened again.
func TestEveryLineOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		contents, want := map[string]string{}, []string{}
		for f := range rapid.IntRange(1, 4).Draw(r, "files") {
			text := rapid.StringMatching(`([ab\r]{0,6}\n|\n){0,20}[ab]{0,3}`).Draw(r, "text")
			contents[fmt.Sprintf("/in/%d", f)] = text
			for line := range strings.Lines(text) {
				want = append(want, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
			}
		}
		s := linesIn(memory(t, contents), "/in")
		files, err := find(t.Context(), s.fs, s.paths)
		if err != nil {
			r.Fatal(err)
		}
		var total int64
		for _, f := range files {
			total += f.size
		}
		var got []string
		n := int64(rapid.IntRange(1, 10).Draw(r, "splits"))
		for i := range n {
			split := stream.Split{ID: "s", Position: mustJSON(cut(files, part(total, i, n), part(total, i+1, n)))}
			got = append(got, readInPieces(r, t, s, []stream.Split{split})...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.Fatalf("%q: got %q, want %q", contents, got, want)
		}
	})
}

// readInPieces stops after some lines, and goes on from the snapshot in a new reader.
func readInPieces(r *rapid.T, t *testing.T, s source[string], splits []stream.Split) (lines []string) {
	for len(splits) > 0 {
		reader := openReader(t, s, splits)
		lines = append(lines, readLines(t, reader, 3, rapid.IntRange(1, 20).Draw(r, "lines"))...)
		var err error
		if splits, err = reader.Snapshot(); err != nil {
			r.Fatal(err)
		}
		if err := reader.Close(); err != nil {
			r.Fatal(err)
		}
	}
	return lines
}

func mustJSON(stretches []stretch) []byte {
	s, err := json.Marshal(stretches)
	if err != nil {
		panic(err)
	}
	return s
}

func TestLongLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var want []string
	for _, n := range []int{10, 0, readBuffer - 1, readBuffer, readBuffer + 1, 3 * readBuffer, 100, 255, 256, 257, 5_000_000, 1} {
		line := make([]byte, n)
		for i := range line {
			line[i] = 'a' + byte(random.IntN(26))
		}
		want = append(want, string(line))
	}
	s := linesIn(memory(t, map[string]string{"/f": strings.Join(want, "\n")}), "/f")
	for _, parallelism := range []int{1, 4} {
		if got := readAll(t, s, parallelism); !slices.Equal(got, want) {
			t.Errorf("parallelism %d: %d lines, want %d", parallelism, len(got), len(want))
		}
	}
}

// TestLongLinesComeInSmallBatches: else a batch of lines of a megabyte would take half a gigabyte.
func TestLongLinesComeInSmallBatches(t *testing.T) {
	s := linesIn(memory(t, map[string]string{"/f": strings.Repeat(strings.Repeat("x", 300_000)+"\n", 20)}), "/f")
	r := openReader(t, s, share(t, s, 0, 1))
	defer r.Close()
	lines := 0
	for {
		n, err := r.Read(t.Context(), make([]string, 512))
		if lines += n; n > 4 {
			t.Errorf("%d lines of 300 KB in one batch", n)
		}
		if err != nil {
			break
		}
	}
	if lines != 20 {
		t.Errorf("%d lines, want 20", lines)
	}
}

// TestAFileThatShrinksFailsTheJob: its lines would be missing without a word.
func TestAFileThatShrinksFailsTheJob(t *testing.T) {
	for name, now := range map[string]string{"cut off": "1\n2\n", "empty": ""} {
		before := linesIn(memory(t, map[string]string{"/f": "1\n2\n3\n4\n"}), "/f")
		after := linesIn(memory(t, map[string]string{"/f": now}), "/f")
		for subtask := range 2 {
			r := openReader(t, after, share(t, before, subtask, 2))
			var err error
			for err == nil {
				_, err = r.Read(t.Context(), make([]string, 10))
			}
			if complete := name == "cut off" && subtask == 0; complete != errors.Is(err, io.EOF) || !complete && !strings.Contains(err.Error(), "files must not change") {
				t.Errorf("%s: subtask %d: Read = %v", name, subtask, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSplitsBalance(t *testing.T) {
	for name, sizes := range map[string][]int{
		"8 files of 25 MB":  {25e6, 25e6, 25e6, 25e6, 25e6, 25e6, 25e6, 25e6},
		"one large file":    {200e6},
		"one of many sizes": {1, 150e6, 3e6, 0, 77, 20e6},
	} {
		for _, parallelism := range []int{1, 3, 4} {
			var files []file
			var total int64
			for i, size := range sizes {
				files = append(files, file{fmt.Sprint(i), int64(size)})
				total += int64(size)
			}
			n := int64(parallelism) * min(max(total/splitBytes/int64(parallelism), 1), splitsPerSubtask)
			shares, covered := make([]int64, parallelism), int64(0)
			for i := range n {
				for _, s := range cut(files, part(total, i, n), part(total, i+1, n)) {
					shares[i%int64(parallelism)] += s.To - s.From
					covered += s.To - s.From
				}
			}
			if covered != total || slices.Max(shares)-slices.Min(shares) > n {
				t.Errorf("%s, parallelism %d: shares %d of %d", name, parallelism, shares, total)
			}
		}
	}
}

func TestByteLinesPointIntoTheBuffer(t *testing.T) {
	text := strings.Repeat("0123456789\n", 100_000)
	s := ByteLines("/f").(source[[]byte])
	s.fs = memory(t, map[string]string{"/f": text})
	splits, err := s.Splits(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), stream.Subtask{}, splits)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, lines := make([][]byte, 100), 0
	for {
		n, err := r.Read(t.Context(), records)
		for _, line := range records[:n] {
			if !bytes.Equal(line, []byte("0123456789")) {
				t.Fatalf("line %d is %q", lines, line)
			}
			lines++
		}
		if err != nil {
			break
		}
	}
	if lines != 100_000 {
		t.Errorf("%d lines", lines)
	}
}

func TestStringsSurviveTheNextRead(t *testing.T) {
	var want []string
	for i := range 50_000 {
		want = append(want, fmt.Sprintf("line %d", i))
	}
	s := linesIn(memory(t, map[string]string{"/f": strings.Join(want, "\n")}), "/f")
	if got := readAll(t, s, 1); !slices.Equal(got, want) {
		t.Error("lines changed after they had been returned")
	}
}

func BenchmarkLines(b *testing.B) {
	text := strings.Repeat("the quick brown fox jumps over the lazy dog again and again\n", 400_000)
	fs := memory(b, map[string]string{"/f": text})
	b.Run("strings", func(b *testing.B) { benchmarkLines(b, linesIn(fs, "/f"), len(text)) })
	b.Run("bytes", func(b *testing.B) {
		s := ByteLines("/f").(source[[]byte])
		s.fs = fs
		benchmarkLines(b, s, len(text))
	})
}

func benchmarkLines[T any](b *testing.B, s source[T], size int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	records := make([]T, 512)
	for b.Loop() {
		splits, _ := s.Splits(b.Context(), 1)
		r, err := s.Open(b.Context(), stream.Subtask{}, splits)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = r.Read(b.Context(), records)
		}
		_ = r.Close()
	}
}
