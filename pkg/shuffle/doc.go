// Package shuffle moves records between the subtasks of a job. It owns the frames that records travel
// in, the channels between subtasks (one for each producer, consumer and edge), and the connections
// between job processes. It knows bytes, not records.
//
// A producing task fills the frames of an Output and flushes them; a consuming task takes them from its
// Gate in the order of arrival, each channel in order. Barriers and the end of the input travel in the
// same channels, behind the data before them. Between tasks of one process frames change hands in
// memory; between processes they cross one TCP connection for each ordered pair of processes.
//
// A channel begins with a handshake that names both attempts. A producer other than the one that the
// consumer was deployed with is refused, so what is left of an earlier attempt can never add a record
// to a later one. A consumer grants each channel credit for a number of frames; a slow consumer holds up
// its own channels and no others. Barriers and ends need no credit.
//
// Exchange may be used from any goroutine. An Output belongs to the goroutine of its task, and so does a
// Gate but for the methods that say otherwise.
package shuffle
