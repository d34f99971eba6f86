/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Helper processes. */
#include "daemon/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "wire/message.h"

#define ERRORS_MAX 1024

struct buffer {
	char *data;
	size_t length, room;
};

struct cwd_child {
	uv_process_t process;
	uv_pipe_t in, out, errors;
	uv_timer_t timer;
	uv_write_t write;
	char *input;
	struct buffer output, error_text;
	size_t output_max;
	int handles; /* open ones */
	int waiting; /* for exit, end of output, end of errors */
	int closing;
	struct cwd_child_result result;
	void (*done)(const struct cwd_child_result *result, void *arg);
	void *arg;
	char chunk[16384];
};

static void report(struct cwd_child *child)
{
	char shown[ERRORS_MAX * 4 + 1];

	if (child->done == NULL) {
		return;
	}
	cww_escape(child->error_text.data ? child->error_text.data : "",
		strcspn(child->error_text.data ? child->error_text.data : "", "\n"), shown,
		sizeof shown);
	child->result.errors = shown;
	child->result.length = child->output.length;
	child->result.output = child->output.data == NULL ? "" : child->output.data;
	if (strlen(child->result.output) != child->output.length) {
		child->result.output = NULL;
	}
	child->done(&child->result, child->arg);
	child->done = NULL;
}

static void on_closed(uv_handle_t *handle)
{
	struct cwd_child *child = handle->data;

	if (--child->handles > 0) {
		return;
	}
	report(child);
	free(child->input);
	free(child->output.data);
	free(child->error_text.data);
	free(child);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle)) {
		uv_close(handle, on_closed);
	}
}

static void close_all(struct cwd_child *child)
{
	if (child->closing) {
		return;
	}
	child->closing = 1;
	if (child->process.pid > 0) {
		(void)kill(-child->process.pid, SIGKILL); /* the group may be gone */
	}
	close_handle((uv_handle_t *)&child->process);
	close_handle((uv_handle_t *)&child->in);
	close_handle((uv_handle_t *)&child->out);
	close_handle((uv_handle_t *)&child->errors);
	close_handle((uv_handle_t *)&child->timer);
}

static void finish(struct cwd_child *child, int rc)
{
	if (child->result.rc == 0) {
		child->result.rc = rc;
	}
	close_all(child);
}

static void one_less(struct cwd_child *child)
{
	if (--child->waiting == 0) {
		finish(child, 0);
	}
}

static void on_exit_of(uv_process_t *process, int64_t exit_status, int signal)
{
	struct cwd_child *child = process->data;

	child->result.exit_code = (int)exit_status;
	child->result.signal = signal;
	/* What it left behind would hold the pipes open. */
	(void)kill(-process->pid, SIGKILL);
	one_less(child);
}

static void on_timeout(uv_timer_t *timer)
{
	finish(timer->data, -ETIMEDOUT);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct cwd_child *child = handle->data;

	(void)suggested;
	buf->base = child->chunk;
	buf->len = sizeof child->chunk;
}

static int append(struct buffer *buffer, const char *data, size_t length)
{
	if (buffer->length + length + 1 > buffer->room) {
		size_t room = 2 * (buffer->length + length + 1);
		char *bigger = realloc(buffer->data, room);

		if (bigger == NULL) {
			return -ENOMEM;
		}
		buffer->data = bigger;
		buffer->room = room;
	}
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
	return 0;
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct cwd_child *child = stream->data;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		one_less(child);
	} else if (child->output.length + (size_t)n > child->output_max) {
		finish(child, CWP_ELIMIT);
	} else if (n > 0 && append(&child->output, buf->base, (size_t)n) < 0) {
		finish(child, -ENOMEM);
	}
}

static void on_errors(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct cwd_child *child = stream->data;
	size_t room = ERRORS_MAX - child->error_text.length;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		one_less(child);
	} else if (n > 0 && room > 0) {
		(void)append(&child->error_text, buf->base,
			(size_t)n < room ? (size_t)n : room); /* only a courtesy */
	}
}

static void on_written(uv_write_t *request, int status)
{
	struct cwd_child *child = request->data;

	(void)status; /* a helper that does not read its input says so in its exit */
	close_handle((uv_handle_t *)&child->in);
}

static void send_input(struct cwd_child *child)
{
	uv_buf_t buf;

	if (child->input == NULL || child->input[0] == '\0') {
		close_handle((uv_handle_t *)&child->in);
		return;
	}
	buf = uv_buf_init(child->input, (unsigned int)strlen(child->input));
	child->write.data = child;
	if (uv_write(&child->write, (uv_stream_t *)&child->in, &buf, 1, on_written) < 0) {
		close_handle((uv_handle_t *)&child->in);
	}
}

static int spawn(uv_loop_t *loop, struct cwd_child *child, char *const *argv)
{
	uv_stdio_container_t stdio[3] = {{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
						 .data.stream = (uv_stream_t *)&child->in},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
			.data.stream = (uv_stream_t *)&child->out},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
			.data.stream = (uv_stream_t *)&child->errors}};
	uv_process_options_t options = {.file = argv[0],
		.args = (char **)(uintptr_t)argv,
		.stdio = stdio,
		.stdio_count = 3,
		.exit_cb = on_exit_of,
		.flags = UV_PROCESS_DETACHED};

	return uv_spawn(loop, &child->process, &options);
}

int cwd_child_start(uv_loop_t *loop, const struct cwd_child_options *options,
	struct cwd_child **ret, struct cwb_err *err)
{
	struct cwd_child *child = calloc(1, sizeof *child);
	int rc;

	if (child == NULL ||
		(options->input != NULL && (child->input = strdup(options->input)) == NULL)) {
		free(child);
		return cwb_err_set(err, -ENOMEM, "no memory for a process");
	}
	child->done = options->done;
	child->arg = options->arg;
	child->output_max = options->output_max;
	child->waiting = 3;
	child->handles = 5;
	child->process.data = child->in.data = child->out.data = child->errors.data =
		child->timer.data = child;
	(void)uv_timer_init(loop, &child->timer); /* cannot fail, nor can the next three */
	(void)uv_pipe_init(loop, &child->in, 0);
	(void)uv_pipe_init(loop, &child->out, 0);
	(void)uv_pipe_init(loop, &child->errors, 0);
	rc = spawn(loop, child, options->argv);
	if (rc < 0) {
		child->process.pid = 0;
		finish(child, rc);
	} else {
		(void)uv_timer_start(&child->timer, on_timeout, options->timeout_ms, 0);
		(void)uv_read_start((uv_stream_t *)&child->out, on_alloc, on_output);
		(void)uv_read_start((uv_stream_t *)&child->errors, on_alloc, on_errors);
		send_input(child);
	}
	if (ret != NULL) {
		*ret = child;
	}
	return 0;
}

void cwd_child_abandon(struct cwd_child *child)
{
	child->done = NULL;
	close_all(child);
}
