/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attempts as processes of this host: own session and process group, job and control messages on
 * standard input, status messages on descriptor 3, everything printed on one pipe. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/executor/executor.h"

/* What outlives the worker's exit with our pipes open is not waited for longer than this. */
#define DRAIN_MS 2000

struct cwd_run {
	uv_process_t process;
	uv_pipe_t in, status, output;
	uv_timer_t drain;
	uv_write_t write_job, write_cancel;
	char *job;
	struct cww_status_reader reader;
	struct cwd_run_events events;
	struct cwd_run_end end;
	int handles, waiting, closing, exited, cancel_sent;
	int has_process; /* the handle is libuv's */
	char chunk[16384];
};

static char cancel_message[] = "{\"cancel\":true}";

static void on_closed(uv_handle_t *handle)
{
	struct cwd_run *run = handle->data;

	if (--run->handles > 0) {
		return;
	}
	run->events.ended(&run->end, run->events.arg);
	cww_status_reader_free(&run->reader);
	free(run->job);
	free(run);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle)) {
		uv_close(handle, on_closed);
	}
}

static void close_all(struct cwd_run *run)
{
	if (run->closing) {
		return;
	}
	run->closing = 1;
	if (run->has_process) {
		close_handle((uv_handle_t *)&run->process);
	}
	close_handle((uv_handle_t *)&run->in);
	close_handle((uv_handle_t *)&run->status);
	close_handle((uv_handle_t *)&run->output);
	close_handle((uv_handle_t *)&run->drain);
}

static void one_less(struct cwd_run *run)
{
	if (--run->waiting == 0) {
		close_all(run);
	}
}

static void on_drained(uv_timer_t *timer)
{
	close_all(timer->data);
}

static void on_process_exit(uv_process_t *process, int64_t exit_status, int signal)
{
	struct cwd_run *run = process->data;

	run->exited = 1;
	if (run->end.rc == 0) {
		run->end.exit_code = (int)exit_status;
		run->end.signal = signal;
	}
	(void)kill(-process->pid, SIGKILL); /* children that it left; mostly there are none */
	(void)uv_timer_start(&run->drain, on_drained, DRAIN_MS, 0);
	one_less(run);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct cwd_run *run = handle->data;

	(void)suggested;
	buf->base = run->chunk;
	buf->len = sizeof run->chunk;
}

static void break_off(struct cwd_run *run, int rc, const struct cwb_err *err)
{
	if (run->end.rc == 0) {
		run->end.rc = rc;
		run->end.err = *err;
	}
	cwd_run_signal(run, SIGKILL);
}

static void take_status(struct cwd_run *run, const char *bytes, size_t length)
{
	struct cww_status status;
	struct cwb_err err = {0};
	int rc = run->end.rc != 0 ? 0 : cww_status_reader_feed(&run->reader, bytes, length, &err);

	while (rc == 0 && run->end.rc == 0 &&
		(rc = cww_status_reader_next(&run->reader, &status, &err)) == 1) {
		run->events.status(&status, run->events.arg);
		rc = 0;
	}
	if (rc < 0) {
		break_off(run, rc, &err);
	}
}

static void on_status(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct cwd_run *run = stream->data;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		one_less(run);
	} else if (n > 0) {
		take_status(run, buf->base, (size_t)n);
	}
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct cwd_run *run = stream->data;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		one_less(run);
	} else if (n > 0) {
		run->events.output(buf->base, (size_t)n, run->events.arg);
	}
}

static void on_written(uv_write_t *request, int status)
{
	(void)request; /* a worker that does not read is dealt with when it exits, or by its
			  deadline */
	(void)status;
}

static void send_text(struct cwd_run *run, uv_write_t *request, char *text)
{
	uv_buf_t buf = uv_buf_init(text, (unsigned int)strlen(text) + 1);

	request->data = run;
	if (!uv_is_closing((uv_handle_t *)&run->in)) {
		(void)uv_write(
			request, (uv_stream_t *)&run->in, &buf, 1, on_written); /* as above */
	}
}

/* Standard output and error share one pipe, so that lines keep their order. */
static int spawn(uv_loop_t *loop, struct cwd_run *run, char *const *argv)
{
	int fds[2], rc;
	uv_stdio_container_t stdio[4] = {{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
						 .data.stream = (uv_stream_t *)&run->in},
		{.flags = UV_INHERIT_FD}, {.flags = UV_INHERIT_FD},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
			.data.stream = (uv_stream_t *)&run->status}};
	uv_process_options_t options = {.file = argv[0],
		.args = (char **)(uintptr_t)argv,
		.stdio = stdio,
		.stdio_count = 4,
		.exit_cb = on_process_exit,
		.flags = UV_PROCESS_DETACHED};

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return -errno;
	}
	rc = uv_pipe_open(&run->output, fds[0]);
	if (rc < 0) {
		close(fds[0]);
	} else {
		stdio[1].data.fd = stdio[2].data.fd = fds[1];
		run->has_process = 1;
		run->handles++;
		rc = uv_spawn(loop, &run->process, &options);
	}
	close(fds[1]);
	return rc;
}

static void init_handles(uv_loop_t *loop, struct cwd_run *run)
{
	/* None of these can fail. */
	(void)uv_pipe_init(loop, &run->in, 0);
	(void)uv_pipe_init(loop, &run->status, 0);
	(void)uv_pipe_init(loop, &run->output, 0);
	(void)uv_timer_init(loop, &run->drain);
	run->process.data = run->in.data = run->status.data = run->output.data = run->drain.data =
		run;
	run->handles = 4;
	run->waiting = 3;
}

int cwd_local_start(uv_loop_t *loop, const struct cwd_run_options *options, struct cwd_run **ret,
	struct cwb_err *err)
{
	struct cwd_run *run = calloc(1, sizeof *run);
	int rc;

	if (run == NULL || (run->job = strdup(options->job)) == NULL) {
		free(run);
		return cwb_err_set(err, -ENOMEM, "no memory for an attempt");
	}
	run->events = options->events;
	cww_status_reader_init(&run->reader);
	init_handles(loop, run);
	rc = spawn(loop, run, options->argv);
	if (rc < 0) {
		run->process.pid = 0;
		run->end.rc =
			cwb_err_set(&run->end.err, rc, "%s: %s", options->argv[0], uv_strerror(rc));
		close_all(run);
	} else {
		(void)uv_read_start((uv_stream_t *)&run->status, on_alloc, on_status);
		(void)uv_read_start((uv_stream_t *)&run->output, on_alloc, on_output);
		send_text(run, &run->write_job, run->job);
	}
	*ret = run;
	return 0;
}

int64_t cwd_run_pid(const struct cwd_run *run)
{
	return run->process.pid;
}

void cwd_run_cancel(struct cwd_run *run)
{
	if (!run->cancel_sent && !run->exited) {
		run->cancel_sent = 1;
		send_text(run, &run->write_cancel, cancel_message);
	}
}

void cwd_run_signal(struct cwd_run *run, int signal)
{
	if (run->process.pid <= 0 || run->exited) {
		return;
	}
	/* Not yet reaped, so the number is still its own. */
	(void)kill(signal == SIGKILL ? -run->process.pid : run->process.pid, signal);
}
