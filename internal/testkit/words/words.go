// Package words makes text to count: eight files of lines of ten words, drawn from a vocabulary of
// 100,000 words of which word r is 1/(r+1) times as frequent as word 0. The text is a function of its
// size, so results compare across systems and machines (workload W1 of the benchmarks).
package words

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

const (
	vocabulary   = 100_000
	files        = 8
	wordsPerLine = 10
)

// Mix is the hash that all benchmark workloads draw from (the finalizer of SplitMix64).
func Mix(x uint64) uint64 {
	z := x + 0x9E3779B97F4A7C15
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// Write makes words-0.txt to words-7.txt in dir, about size bytes in all.
func Write(dir string, size int64) error {
	v := newVocabulary()
	var next uint64
	for f := range files {
		if err := v.writeFile(filepath.Join(dir, fmt.Sprintf("words-%d.txt", f)), size/files, &next); err != nil {
			return err
		}
	}
	return nil
}

// lexicon is the vocabulary with cumulative weights.
type lexicon struct {
	words      []string
	cumulative []uint64
	total      uint64
}

func newVocabulary() *lexicon {
	v := &lexicon{}
	for r := range uint64(vocabulary) {
		v.total += 1 << 40 / (r + 1)
		v.cumulative = append(v.cumulative, v.total)
		v.words = append(v.words, spell(r))
	}
	return v
}

// spell writes r in base 26, least significant digit first, and adds one to six letters, so that words
// differ in length.
func spell(r uint64) string {
	var word []byte
	for x := r; ; x /= 26 {
		word = append(word, byte('a'+x%26))
		if x < 26 {
			break
		}
	}
	h := Mix(r + 1_000_000_007)
	for n := 1 + h%6; n > 0; n-- {
		h /= 7
		word = append(word, byte('a'+h%26))
	}
	return string(word)
}

func (v *lexicon) draw(i uint64) string {
	u := Mix(i) % v.total
	return v.words[sort.Search(vocabulary, func(r int) bool { return v.cumulative[r] > u })]
}

func (v *lexicon) writeFile(name string, size int64, next *uint64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for written := int64(0); written < size; {
		for column := range wordsPerLine {
			word := v.draw(*next)
			*next++
			end := byte(' ')
			if column == wordsPerLine-1 {
				end = '\n'
			}
			w.WriteString(word) // errors stay with the writer until Flush
			w.WriteByte(end)
			written += int64(len(word)) + 1
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
