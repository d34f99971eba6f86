/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Status messages and progress lines. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/status.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void cwk_status_init(struct cwk_status *s, int fd)
{
	*s = (struct cwk_status){.fd = fd, .terminal = fd < 0 && isatty(STDERR_FILENO)};
}

/* The daemon's end may be gone; the control channel notices that. */
static void send(struct cwk_status *s, json_t *message)
{
	(void)cww_status_send(s->fd, message, NULL);
}

static void end_line(struct cwk_status *s)
{
	if (s->line) {
		(void)fputc('\n', stderr);
		s->line = 0;
	}
}

static void show(struct cwk_status *s, uint64_t done, uint64_t total, int64_t elapsed)
{
	const char *name = cwe_stage_name(s->stage);
	if (!s->terminal) {
		if (done == 0) {
			(void)fprintf(stderr, "%s\n", name);
		}
		return;
	}
	(void)fprintf(stderr, "\r\033[K%-9s", name);
	if (total > 0) {
		(void)fprintf(stderr, " %3d %%", (int)(100.0 * (double)done / (double)total));
		if (done > s->first && elapsed > 1000 && done < total) {
			double left = (double)(total - done) * (double)elapsed / (double)(done - s->first) / 1000;
			(void)fprintf(stderr, "  %d:%02d left", (int)left / 60, (int)left % 60);
		}
	}
	s->line = 1;
	(void)fflush(stderr);
}

void cwk_status_progress(void *arg, enum cwe_stage stage, uint64_t done, uint64_t total, const char *unit)
{
	struct cwk_status *s = arg;
	int64_t now = now_ms();
	(void)pthread_mutex_lock(&lock);
	int begins = !s->begun || stage != s->stage;
	if (begins) {
		end_line(s);
		s->stage = stage;
		s->begun = 1;
		s->started = now;
		s->first = 0;
		if (s->fd >= 0) {
			send(s, cww_status_progress((enum cww_stage)stage, 0, total, unit));
		} else {
			show(s, 0, 0, 0);
		}
	} else if (s->first == 0 && s->sent <= s->started) {
		s->first = done;
	}
	if (!begins && (now - s->sent >= 200 || (total > 0 && done == total))) {
		if (s->fd >= 0) {
			send(s, cww_status_progress((enum cww_stage)stage, total > 0 && done > total ? total : done, total, unit));
		} else {
			show(s, done, total, now - s->started);
		}
		s->sent = now;
	}
	(void)pthread_mutex_unlock(&lock);
}

void cwk_status_checkpoint(void *arg)
{
	struct cwk_status *s = arg;
	(void)pthread_mutex_lock(&lock);
	if (s->fd >= 0) {
		send(s, cww_status_checkpoint());
	}
	(void)pthread_mutex_unlock(&lock);
}

void cwk_status_log(void *arg, int level, const char *text)
{
	struct cwk_status *s = arg;
	enum cww_level l = level <= CWP_LOG_ERROR ? CWW_LEVEL_ERROR : level == CWP_LOG_WARNING ? CWW_LEVEL_WARNING
		: level == CWP_LOG_INFO ? CWW_LEVEL_INFO : CWW_LEVEL_DEBUG;
	(void)pthread_mutex_lock(&lock);
	if (s->fd >= 0) {
		send(s, cww_status_log(l, text));
	} else {
		char line[CWW_STATUS_TEXT_MAX];
		(void)cww_escape(text, strlen(text), line, sizeof line);
		end_line(s);
		(void)fprintf(stderr, "%s: %s\n", cww_level_name(l), line);
	}
	(void)pthread_mutex_unlock(&lock);
}

void cwk_status_end(struct cwk_status *s, enum cww_result result, const struct cwb_err *err)
{
	(void)pthread_mutex_lock(&lock);
	end_line(s);
	if (s->fd >= 0) {
		send(s, cww_status_end(result, err));
	} else if (result == CWW_RESULT_DONE) {
		(void)fprintf(stderr, "done\n");
	}
	(void)pthread_mutex_unlock(&lock);
}
