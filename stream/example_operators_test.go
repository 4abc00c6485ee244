package stream_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tamias-project/tamias/stream"
)

// upTo is a source of the numbers below n.
func upTo(env *stream.Env, n int64) *stream.Stream[int64] {
	return stream.From(env, "numbers", stream.Generate(n, 0, func(i int64) int64 { return i }))
}

// execute runs a job in this process; each Example has one subtask for each operator, so that the order of the
// output is known.
func execute(env *stream.Env) {
	if err := env.Execute(context.Background(), "example"); err != nil {
		log.Fatal(err)
	}
}

func ExampleMap() {
	env := stream.New(stream.WithParallelism(1))
	squares := stream.Map(upTo(env, 4), func(i int64) string { return fmt.Sprintf("%d squared is %d", i, i*i) })
	stream.Print(squares)
	execute(env)
	// Output:
	// 0 squared is 0
	// 1 squared is 1
	// 2 squared is 4
	// 3 squared is 9
}

func ExampleFilter() {
	env := stream.New(stream.WithParallelism(1))
	odd := stream.Filter(upTo(env, 6), func(i int64) bool { return i%2 == 1 })
	stream.Print(odd)
	execute(env)
	// Output:
	// 1
	// 3
	// 5
}

func ExampleFlatMap() {
	env := stream.New(stream.WithParallelism(1))
	repeated := stream.FlatMap(upTo(env, 4), func(i int64, out *stream.Out[int64]) {
		for range i {
			out.Emit(i)
		}
	})
	stream.Print(repeated)
	execute(env)
	// Output:
	// 1
	// 2
	// 2
	// 3
	// 3
	// 3
}

// A stream may be used several times, and several streams may become one.
func ExampleUnion() {
	env := stream.New(stream.WithParallelism(2))
	numbers := upTo(env, 4)
	negative := stream.Map(numbers, func(i int64) int64 { return -i })
	stream.Print(stream.Union(numbers, negative), stream.Parallelism(1))
	execute(env)
	// Unordered output:
	// 0
	// 0
	// 1
	// -1
	// 2
	// -2
	// 3
	// -3
}

func ExampleCount() {
	env := stream.New(stream.WithParallelism(1))
	byLastBit := stream.KeyBy(upTo(env, 5), func(i int64) int64 { return i % 2 })
	stream.Print(stream.Count(byLastBit))
	execute(env)
	// Output:
	// {0 1}
	// {1 1}
	// {0 2}
	// {1 2}
	// {0 3}
}

func ExampleSum() {
	env := stream.New(stream.WithParallelism(2))
	byLastBit := stream.KeyBy(upTo(env, 10), func(i int64) string {
		if i%2 == 0 {
			return "even"
		}
		return "odd"
	})
	sums := stream.Sum(byLastBit, func(i int64) int64 { return i }, stream.FinalOnly())
	stream.Print(sums, stream.Parallelism(1))
	execute(env)
	// Unordered output:
	// {even 20}
	// {odd 25}
}

func ExampleReduce() {
	env := stream.New(stream.WithParallelism(1))
	byRest := stream.KeyBy(upTo(env, 9), func(i int64) int64 { return i % 3 })
	greatest := stream.Reduce(byRest, func(a, b int64) int64 { return max(a, b) }, stream.FinalOnly())
	stream.Print(greatest)
	execute(env)
	// Unordered output:
	// 6
	// 7
	// 8
}

// ProcessFinish emits for each key when the input has ended.
func ExampleProcessFinish() {
	env := stream.New(stream.WithParallelism(1))
	byRest := stream.KeyBy(upTo(env, 7), func(i int64) int64 { return i % 2 })
	lists := stream.ProcessFinish(byRest, "lists",
		func(_, i int64, list *[]int64, _ *stream.Out[string]) { *list = append(*list, i) },
		func(rest int64, list *[]int64, out *stream.Out[string]) { out.Emit(fmt.Sprint(rest, ": ", *list)) },
		stream.UID("lists"))
	stream.Print(lists)
	execute(env)
	// Unordered output:
	// 0: [0 2 4 6]
	// 1: [1 3 5]
}

// Broadcast shows every record to each subtask.
func ExampleBroadcast() {
	env := stream.New(stream.WithParallelism(1))
	seen := stream.Map(stream.Broadcast(upTo(env, 2)), func(i int64) int64 { return i }, stream.Parallelism(3))
	stream.Print(seen, stream.Parallelism(1))
	execute(env)
	// Unordered output:
	// 0
	// 0
	// 0
	// 1
	// 1
	// 1
}

// ForEach makes a sink of a function. Only a sink with one subtask may share a variable like this.
func ExampleForEach() {
	env := stream.New(stream.WithParallelism(1))
	total := int64(0)
	stream.To(upTo(env, 101), "total", stream.ForEach(func(i int64) { total += i }))
	execute(env)
	fmt.Println(total)
	// Output: 5050
}
