package codec

import (
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

type record struct {
	Key   uint64
	Value int64
	Name  string
}

type padded struct {
	A uint8
	B uint64
	C bool
	D uint32
	_ uint32
	E [3]uint16
}

type nested struct {
	P       *padded
	Names   []string
	Numbers []float64
	Sub     []record
	Flags   [3]bool
	Words   [2]string
	Counts  map[string]int
	Sets    map[int]struct{}
	When    time.Time
	Addr    netip.Addr
	secret  int
	Cache   any `tamias:"-"`
	inner
}

type inner struct{ X, Y int32 }

type embedsTime struct {
	time.Time
	Extra string
}

func codecFor[T any](t testing.TB) *Codec[T] {
	t.Helper()
	c, err := For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// roundTrip checks that each value survives, and that no part of its encoding does as a whole.
func roundTrip[T any](t *testing.T, values ...T) {
	t.Helper()
	c := codecFor[T](t)
	for _, v := range values {
		data := c.Append([]byte("before"), &v)[6:]
		for _, decode := range []func([]byte, *T) (int, error){c.Decode, c.DecodeView} {
			var got T
			n, err := decode(append(data, "behind"...), &got)
			if err != nil || n != len(data) || !reflect.DeepEqual(got, v) {
				t.Errorf("%T: got %+v (%d of %d bytes, %v), want %+v", v, got, n, len(data), err, v)
			}
		}
		for cut := range data {
			var got T
			if _, err := c.Decode(data[:cut:cut], &got); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%T cut to %d of %d bytes: %v, want ErrCorrupt", v, cut, len(data), err)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	roundTrip(t, false, true)
	roundTrip[int8](t, -128, 127)
	roundTrip[uint16](t, 0, 65535)
	roundTrip[int](t, math.MinInt, -1, 0, math.MaxInt)
	roundTrip[uint64](t, 0, math.MaxUint64)
	roundTrip[float32](t, 0, -1.5)
	roundTrip(t, math.Inf(1), math.Copysign(0, -1))
	roundTrip(t, complex(1, -2))
	roundTrip(t, "", "word", strings.Repeat("long", 100))
	roundTrip(t, nil, []byte{}, []byte("bytes"))
	roundTrip(t, nil, []uint32{}, []uint32{1, 2, 3})
	roundTrip(t, nil, []bool{true, false})
	roundTrip(t, [4]uint16{1, 2, 3, 4})
	roundTrip(t, struct{}{})
	roundTrip(t, record{}, record{1, -2, "three"})
	roundTrip(t, padded{}, padded{A: 1, B: 2, C: true, D: 4, E: [3]uint16{5, 6, 7}})
	roundTrip(t, time.Time{}, time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC))
	roundTrip(t, inner{1, -1})
	roundTrip(t, map[record]padded(nil), map[record]padded{}, map[record]padded{{Key: 1}: {A: 2}, {Key: 2, Name: "x"}: {C: true}})
	roundTrip(t, netip.MustParseAddr("fe80::1%eth0"), netip.Addr{})
	roundTrip(t, url.URL{Scheme: "https", Host: "example.org", Path: "/x"})
	roundTrip(t, *big.NewInt(0).Lsh(big.NewInt(7), 200))
	roundTrip(t, embedsTime{time.Unix(1, 2).UTC(), "kept"})
	roundTrip(t, nested{}, nested{
		P: &padded{A: 9}, Names: []string{"a", ""}, Numbers: []float64{1, 2}, Sub: []record{{1, 2, "3"}},
		Flags: [3]bool{true, false, true}, Words: [2]string{"x", "yy"}, Counts: map[string]int{"b": 2, "a": 1, "": 0},
		Sets: map[int]struct{}{4: {}, 5: {}}, When: time.Unix(5, 6).UTC(), Addr: netip.MustParseAddr("1.2.3.4"), secret: 7, inner: inner{8, 9},
	})
}

// TestEncodingIsStable pins bytes that lie in state files.
func TestEncodingIsStable(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{encoded(t, record{1, -2, "abc"}), "0100000000000000" + "feffffffffffffff" + "03616263"},
		{encoded(t, padded{1, 2, true, 4, 99, [3]uint16{5, 6, 7}}), "01" + "0200000000000000" + "01" + "04000000" + "050006000700"},
		{encoded(t, []int16{1, -1}), "03" + "0100" + "ffff"},
		{encoded(t, map[string]int8{"b": 2, "a": 1}), "03" + "0161" + "01" + "0162" + "02"},
		{encoded(t, time.Unix(1, 2)), "0100000000000000" + "02000000"},
		{encoded(t, int(-1)), "ffffffffffffffff"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
}

func encoded[T any](t *testing.T, v T) string {
	return hex.EncodeToString(codecFor[T](t).Append(nil, &v))
}

func TestSchema(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{codecFor[uint64](t).Schema(), "uint64"},
		{codecFor[record](t).Schema(), "struct{Key uint64; Value int64; Name string}"},
		{codecFor[map[string][]*inner](t).Schema(), "map[string][]*struct{X int32; Y int32}"},
		{codecFor[struct {
			T time.Time
			A netip.Addr
		}](t).Schema(), "struct{T time; A binary(netip.Addr)}"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

type list struct {
	Next *list
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{refusal[any](), "interface {}"},
		{refusal[struct{ F func() }](), ".F: a func()"},
		{refusal[struct{ M sync.Mutex }](), ".M: a sync.Mutex"},
		{refusal[map[string]chan int](), "[]: a chan int"},
		{refusal[list](), "list.Next: type codec.list contains itself"},
		{refusal[[]struct{}](), "hold nothing"},
		{refusal[uintptr](), "uintptr"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("got %v, want an error with %q", tc.err, tc.want)
		}
	}
}

func refusal[T any]() error { _, err := For[T](); return err }

// TestHashIsStable pins hashes: which key group a key belongs to must never change.
func TestHashIsStable(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uint64
	}{
		{"uint64", hashOf(t, uint64(1)), 0x910a2dec89025cc1},
		{"int", hashOf(t, int(1)), 0x910a2dec89025cc1},
		{"byte", hashOf(t, byte(1)), 0x910a2dec89025cc1},
		{"string", hashOf(t, "word"), 0xe3ce369cf66c5c55},
		{"record", hashOf(t, record{1, 2, "x"}), 0x858b384cd9f4a114},
		{"memory", hashOf(t, [2]uint64{1, 2}), 0x7ee86c281446bef},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: hash %#x, want %#x", tc.name, tc.got, tc.want)
		}
	}
}

func TestEqualValuesHaveEqualHashes(t *testing.T) {
	a, b := padded{A: 1}, padded{A: 1}
	// The blank field differs, as uninitialised padding may.
	*(*uint32)(reflect.ValueOf(&b).Elem().Field(4).Addr().UnsafePointer()) = 77
	if hashOf(t, a) != hashOf(t, b) {
		t.Error("blank fields count")
	}
	if hashOf(t, 0.0) != hashOf(t, math.Copysign(0, -1)) {
		t.Error("zero and minus zero differ")
	}
	m := map[int]int{}
	for i := range 100 {
		m[i] = i
	}
	first := hashOf(t, m)
	for range 20 {
		if hashOf(t, m) != first {
			t.Fatal("hash depends on the order of a map")
		}
	}
}

func hashOf[T any](t *testing.T, v T) uint64 { return codecFor[T](t).Hash(&v) }

func TestDecodeCopies(t *testing.T) {
	c := codecFor[record](t)
	data := c.Append(nil, &record{Name: "name"})
	var kept, view record
	_, _ = c.Decode(data, &kept)
	_, _ = c.DecodeView(data, &view)
	clear(data)
	if kept.Name != "name" || view.Name == "name" {
		t.Errorf("after the input changed: Decode has %q, DecodeView %q", kept.Name, view.Name)
	}
}

func TestCorruptInput(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
	}{
		{"bool", decoding[padded](t, "01"+"0200000000000000"+"02"+"04000000"+"050006000700")},
		{"length of a string", decoding[string](t, "ffffffffffffffff7f")},
		{"overlong varint", decoding[string](t, "ffffffffffffffffffffff01")},
		{"length of a slice", decoding[[]uint64](t, "ffffffffffffffff7f")},
		{"length of a map", decoding[map[int]int](t, "ffffffffff7f")},
		{"pointer", decoding[*int](t, "02")},
		{"nanoseconds", decoding[time.Time](t, "0100000000000000"+"ffffffff")},
		{"own encoding", decoding[netip.Addr](t, "0300000001"+"0203")},
	} {
		if !errors.Is(tc.err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", tc.name, tc.err)
		}
	}
}

func decoding[T any](t *testing.T, input string) error {
	data, err := hex.DecodeString(input)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	_, err = codecFor[T](t).Decode(data, &v)
	return err
}

func TestNoAllocations(t *testing.T) {
	c := codecFor[record](t)
	buf := make([]byte, 0, 100)
	once := func() {
		v := record{1, 2, "name"}
		buf = c.Append(buf[:0], &v)
		var got record
		_, _ = c.DecodeView(buf, &got)
		_ = c.Hash(&got)
	}
	// The race detector lets pools forget things now and then, so the least of several tries counts.
	least := testing.AllocsPerRun(1, once)
	for range 50 {
		least = min(least, testing.AllocsPerRun(1, once))
	}
	if least != 0 {
		t.Errorf("%v allocations for a record", least)
	}
}

func FuzzDecode(f *testing.F) {
	c := codecFor[nested](f)
	f.Add(c.Append(nil, &nested{Names: []string{"a"}, Counts: map[string]int{"x": 1}, P: &padded{}, Addr: netip.MustParseAddr("::1")}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var v, again nested
		n, err := c.Decode(data, &v)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if n > len(data) {
			t.Fatalf("took %d of %d bytes", n, len(data))
		}
		if _, err := c.Decode(c.Append(nil, &v), &again); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	c := codecFor[record](b)
	v, buf := record{1, 2, "12345678"}, make([]byte, 0, 64)
	b.Run("append+decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = c.Append(buf[:0], &v)
			var got record
			_, _ = c.Decode(buf, &got)
		}
	})
	b.Run("append+view", func(b *testing.B) {
		for b.Loop() {
			buf = c.Append(buf[:0], &v)
			var got record
			_, _ = c.DecodeView(buf, &got)
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			c.Hash(&v)
		}
	})
}

func BenchmarkFixed(b *testing.B) {
	type fixed struct {
		Key   uint64
		Value int64
		Sum   int64
	}
	benchmarkFixed(b, "24 bytes", fixed{1, 2, 3})
	benchmarkFixed(b, "uint64", uint64(1))
	benchmarkFixed(b, "16 bytes", [2]uint64{})
	benchmarkFixed(b, "padded", padded{})
}

func benchmarkFixed[T any](b *testing.B, name string, v T) {
	c, buf := codecFor[T](b), make([]byte, 0, 64)
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			buf = c.Append(buf[:0], &v)
			_, _ = c.Decode(buf, &v)
		}
	})
	b.Run(name+" hash", func(b *testing.B) {
		for b.Loop() {
			c.Hash(&v)
		}
	})
}
