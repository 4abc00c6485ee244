package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

type runOptions struct {
	detached    bool
	parallelism int
	jobID       string
}

func (c *cli) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [OPTIONS] PROGRAM [ARGS...]",
		Short: "Submit a job and wait for its end",
		Long: "Submit a job and wait for its end.\n\nPROGRAM is a Go program that uses the stream package: its binary, or the directory of its package, which\n" +
			"is built first. Options come before it; what follows it are its own arguments.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return sentence("The program was not specified.")
			}
			if err := checkParallelism(cmd, o.parallelism); err != nil {
				return err
			}
			return c.run(cmd.Context(), o, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.detached, "detached", "d", false, "do not wait for the end of the job")
	f.IntVarP(&o.parallelism, "parallelism", "p", 0, "parallelism of operators that set none; default parallelism.default")
	f.StringVar(&o.jobID, "job-id", "", "the job's ID, 32 hex digits; submitting one job twice under one ID is harmless")
	return c.common(cmd)
}

func (c *cli) run(ctx context.Context, o runOptions, arg string, args []string) error {
	job := id.NewJob()
	var err error
	if o.jobID != "" {
		if job, err = parseJobID(o.jobID); err != nil {
			return err
		}
	}
	cfg, err := c.configuration()
	if err != nil {
		return err
	}
	p, err := c.openProgram(ctx, arg)
	if err != nil {
		return err
	}
	defer p.remove()
	g, err := c.prepare(ctx, p, args, o.parallelism, cfg, c.stdout)
	if err != nil {
		return err
	}
	g.ID = job
	client, err := c.client(cfg)
	if err != nil {
		return err
	}
	defer client.close()
	if err := client.submit(ctx, g, p.path); err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return fail(err, "Failed to execute job '%s'.", g.Name)
	}
	fmt.Fprintf(c.stdout, "Job has been submitted with JobID %s\n", job)
	if o.detached {
		return nil
	}
	w := watcher{client: client, job: job, out: c.stderr, patience: config.ClientTimeout.In(cfg)}
	return c.report(w.wait(ctx))
}

// checkParallelism refuses a value of -p that is none.
func checkParallelism(cmd *cobra.Command, n int) error {
	if cmd.Flags().Changed("parallelism") && n < 1 {
		return sentence("The parallelism must be a positive number: %d", n)
	}
	return nil
}

// prepare makes the job graph as it will be submitted, the job ID apart.
func (c *cli) prepare(ctx context.Context, p program, args []string, parallelism int, cfg *config.Configuration, stdout io.Writer) (*jobgraph.JobGraph, error) {
	parallelism = cmp.Or(parallelism, config.DefaultParallelism.In(cfg))
	g, err := c.plan(ctx, p, args, programDefaults(cfg, parallelism), stdout)
	if err != nil {
		return nil, err
	}
	if g.Binary, err = p.binary(); err != nil {
		return nil, err
	}
	g.Args = args
	g.Name = cmp.Or(g.Name, filepath.Base(p.path))
	g.DefaultParallelism = cmp.Or(g.DefaultParallelism, parallelism)
	applySettings(g, cfg)
	settings := cfg.Map()
	for key, value := range settings {
		settings[key] = config.Mask(key, value) // the job graph is stored and shown
	}
	maps.Copy(settings, g.Config)
	g.Config = settings
	return g, nil
}

// submit uploads the binary and the job graph, again and again while no leader takes them: the ID is the
// same each time, so the job runs once.
func (c *client) submit(ctx context.Context, g *jobgraph.JobGraph, binary string) error {
	request, err := json.Marshal(map[string]any{"jobGraph": g})
	if err != nil {
		return fmt.Errorf("encode job graph: %w", err)
	}
	return c.do(ctx, call{method: http.MethodPost, path: "/jobs", body: func() (io.ReadCloser, string, error) {
		f, err := os.Open(binary)
		if err != nil {
			return nil, "", err
		}
		r, w := io.Pipe()
		parts := multipart.NewWriter(w)
		written := make(chan struct{})
		go func() {
			defer close(written)
			defer f.Close()
			w.CloseWithError(writeParts(parts, request, f))
		}()
		return upload{r, written}, parts.FormDataContentType(), nil
	}}, nil)
}

func writeParts(parts *multipart.Writer, request []byte, binary *os.File) error {
	part, err := parts.CreateFormField("request")
	if err != nil {
		return err
	}
	if _, err := part.Write(request); err != nil {
		return err
	}
	if part, err = parts.CreateFormFile("jobbinary", filepath.Base(binary.Name())); err != nil {
		return err
	}
	if _, err := io.Copy(part, binary); err != nil {
		return err
	}
	return parts.Close()
}

// upload is a request body that a goroutine writes.
type upload struct {
	*io.PipeReader
	written chan struct{} // closed when the goroutine has ended
}

// Close makes the writer end, and waits for it.
func (u upload) Close() error {
	err := u.PipeReader.Close()
	<-u.written
	return err
}
