package config

const web = "REST and web"

var (
	// RestAddress is where clients connect.
	RestAddress = define(web, text, Description{Key: "rest.address", Default: "localhost", Fallback: []string{"jobmanager.rpc.address"},
		Doc: "Host at which clients reach the REST endpoint when they cannot ask the high-availability services."})
	// RestPort is the port that clients use.
	RestPort = define(web, port, Description{Key: "rest.port", Default: "8081", Older: []string{"web.port"},
		Doc: "Port that clients use, and that a JobManager listens on when rest.bind-port is not set."})
	// RestBindAddress is the interface that the REST endpoint listens on.
	RestBindAddress = define(web, text, Description{Key: "rest.bind-address", Default: Loopback,
		Fallback: []string{"web.address"}, Older: []string{"jobmanager.web.address"},
		Doc: "Interface on which the REST endpoint listens. It has no login: leave it on the loopback unless something in front asks for one."})
	// RestBindPort is the choice of ports of the REST endpoint.
	RestBindPort = define(web, ports, Description{Key: "rest.bind-port", Default: "8081",
		Fallback: []string{"rest.port"}, Older: []string{"web.port", "jobmanager.web.port"},
		Doc: "Port of the REST endpoint: a port, or ranges that are tried in order; 0 is any free port."})
	// RestAwaitLeaderTimeout is how long a client waits for the address of a leader.
	RestAwaitLeaderTimeout = define(web, duration, Description{Key: "rest.await-leader-timeout", Default: "30 s",
		Doc: "How long a client waits until there is a leader to ask."})
	// RestRetryMaxAttempts is how often a client tries a call.
	RestRetryMaxAttempts = define(web, atLeast(0), Description{Key: "rest.retry.max-attempts", Default: "20",
		Doc: "How often a client repeats a call that met no server."})
	// RestRetryDelay is a client's pause between two attempts.
	RestRetryDelay = define(web, duration, Description{Key: "rest.retry.delay", Default: "3 s", Doc: "Pause of a client between two attempts."})
	// RestConnectionTimeout bounds one attempt of a client to connect.
	RestConnectionTimeout = define(web, positive(), Description{Key: "rest.connection-timeout", Default: "15 s",
		Doc: "Longest wait of a client for a connection."})
	// RestIdlenessTimeout is how long a connection may lie idle.
	RestIdlenessTimeout = define(web, duration, Description{Key: "rest.idleness-timeout", Default: "5 min",
		Doc: "The server closes a connection that was idle for this long."})
	// RestServerMaxContentLength is the largest request body in bytes.
	RestServerMaxContentLength = define(web, atLeast(1), Description{Key: "rest.server.max-content-length", Default: "104857600", Unit: "bytes",
		Doc: "Largest request that the server takes, apart from uploads of job binaries."})
	// RestAsyncStoreDuration is how long the result of a finished asynchronous operation can be asked for.
	RestAsyncStoreDuration = define(web, duration, Description{Key: "rest.async.store-duration", Default: "5 min",
		Doc: "How long the result of a finished asynchronous operation can be asked for."})
	// WebSubmitEnable allows uploads and submissions through REST.
	WebSubmitEnable = define(web, boolean, Description{Key: "web.submit.enable", Default: "true", Older: []string{"jobmanager.web.submit.enable"},
		Doc: "Whether jobs can be submitted through this REST endpoint, which is what tamias run does too. (In Flink only the web page is concerned.)"})
	// WebCancelEnable allows the web page to cancel jobs.
	WebCancelEnable = define(web, boolean, Description{Key: "web.cancel.enable", Default: "true", Doc: "Whether the web page offers to cancel a job."})
	// WebRefreshInterval is the poll period that the web page is told.
	WebRefreshInterval = define(web, positive(), Description{Key: "web.refresh-interval", Default: "3 s", Older: []string{"jobmanager.web.refresh-interval"},
		Doc: "How often the web page asks for news."})
	// WebUploadDir is where uploaded job binaries are kept.
	WebUploadDir = define(web, text, Description{Key: "web.upload.dir", Older: []string{"jobmanager.web.upload.dir"},
		Doc: "Folder for uploaded job binaries; by default a folder of the process in io.tmp.dirs."})
	// WebTimeout bounds an operation that the REST endpoint waits for.
	WebTimeout = define(web, positive(), Description{Key: "web.timeout", Default: "10 min", Doc: "Longest wait of the REST endpoint for an operation of the cluster."})
	// WebCheckpointsHistory is the number of checkpoints that REST tells about.
	WebCheckpointsHistory = define(web, atLeast(0), Description{Key: "web.checkpoints.history", Default: "10", Older: []string{"jobmanager.web.checkpoints.history"},
		Doc: "Number of recent checkpoints of a job that REST tells about."})
	// WebExceptionHistorySize is the number of failures that REST tells about.
	WebExceptionHistorySize = define(web, atLeast(0), Description{Key: "web.exception-history-size", Default: "16",
		Doc: "Number of recent failures of a job that REST tells about."})
	// WebAllowOrigin is the CORS header of REST answers.
	WebAllowOrigin = define(web, text, Description{Key: "web.access-control-allow-origin", Default: "*", Older: []string{"jobmanager.web.access-control-allow-origin"},
		Doc: "Access-Control-Allow-Origin header of the answers."})
)

const client = "Client"

var (
	// ClientTimeout bounds an operation of a client.
	ClientTimeout = define(client, positive(), Description{Key: "client.timeout", Default: "1 min", Older: []string{"akka.client.timeout"},
		Doc: "How long a client waits for an operation such as cancel or savepoint."})
	// ClientRetryPeriod is a client's pause while it polls.
	ClientRetryPeriod = define(client, positive(), Description{Key: "client.retry-period", Default: "2 s",
		Doc: "Pause of a client between two questions about an operation that goes on."})
)
