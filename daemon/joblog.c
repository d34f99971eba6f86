/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Job logs. */
#include "daemon/joblog.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wire/message.h"

int cwd_joblog_open(struct cwd_joblog *log, const char *path, uint64_t limit, struct cwb_err *err)
{
	struct stat st;

	memset(log, 0, sizeof *log);
	log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (log->fd < 0) {
		return cwb_err_errno(err, "%s", path);
	}
	log->limit = limit;
	log->size = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	log->full = log->size >= limit;
	return 0;
}

static void put(struct cwd_joblog *log, const char *text, size_t length)
{
	ssize_t n = write(log->fd, text, length);

	/* On a full disk the log has a gap; the job goes on. */
	if (n > 0) {
		log->size += (uint64_t)n;
	}
}

void cwd_joblog_line(struct cwd_joblog *log, const char *origin, const char *text, size_t length)
{
	static const char full[] = "the log is full; what follows is left out\n";
	char line[CWD_JOBLOG_LINE_MAX + 64];
	struct timespec now;
	struct tm tm;
	size_t at;

	if (log->fd < 0 || log->full) {
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	at = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
	at += (size_t)snprintf(
		line + at, sizeof line - at, ".%03ldZ %s: ", now.tv_nsec / 1000000, origin);
	at += cww_escape(text, length, line + at, sizeof line - at - 1);
	line[at++] = '\n';
	if (log->size + at + sizeof full > log->limit) {
		log->full = 1;
		put(log, full, sizeof full - 1);
		return;
	}
	put(log, line, at);
}

static void end_line(struct cwd_joblog *log)
{
	if (log->length > 0) {
		cwd_joblog_line(log, "output", log->line, log->length);
	}
	log->length = 0;
}

void cwd_joblog_output(struct cwd_joblog *log, const char *bytes, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (bytes[i] == '\n' || bytes[i] == '\r') {
			end_line(log);
		} else if (log->length < sizeof log->line) {
			log->line[log->length++] = bytes[i];
		}
	}
}

void cwd_joblog_close(struct cwd_joblog *log)
{
	if (log->fd < 0) {
		return;
	}
	end_line(log);
	close(log->fd);
	log->fd = -1;
}
