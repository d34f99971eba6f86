/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The lines of a text file. */
#include "engine/text/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 << 10)

int cwe_lines_open(const char *path, struct cwe_lines *ret, struct cwb_err *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cwb_err_errno(err, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return cwb_err_set(err, CWP_EFORMAT, "%s: not a regular file", path);
	}
	*ret = (struct cwe_lines){.path = path, .fd = fd};
	return 0;
}

void cwe_lines_close(struct cwe_lines *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->buffer);
	*l = (struct cwe_lines){.fd = -1};
}

/* Reads more behind what is there. */
static int fill(struct cwe_lines *l, struct cwb_err *err)
{
	if (l->start > 0) {
		memmove(l->buffer, l->buffer + l->start, l->end - l->start);
		l->end -= l->start;
		l->start = 0;
	}
	if (l->room - l->end < READ_SIZE) {
		size_t room = 2 * l->room + 2 * READ_SIZE;
		char *buffer = realloc(l->buffer, room);
		if (!buffer)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", l->path);
		l->buffer = buffer;
		l->room = room;
	}
	ssize_t n;
	do
		n = read(l->fd, l->buffer + l->end, READ_SIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return cwb_err_errno(err, "%s: reading", l->path);
	l->at_end = n == 0;
	l->end += (size_t)n;
	return 0;
}

int cwe_lines_next(struct cwe_lines *l, const char **ret, size_t *ret_length, struct cwb_err *err)
{
	size_t searched = 0;
	const char *found = NULL;
	for (;;) {
		size_t have = l->end - l->start;
		if (have > searched)
			found = memchr(l->buffer + l->start + searched, '\n', have - searched);
		searched = have;
		if (found || l->at_end)
			break;
		if (have > CWE_LINE_LIMIT)
			return cwe_lines_refuse(err, CWP_ELIMIT, l->path, l->line + 1, "",
				"longer than %zu bytes", CWE_LINE_LIMIT);
		int rc = fill(l, err);
		if (rc < 0)
			return rc;
	}
	if (!found && searched == 0)
		return 0;
	size_t length = found ? (size_t)(found - l->buffer) - l->start : searched;
	size_t skip = 0;
	if (l->line == 0 && length >= 3 && memcmp(l->buffer + l->start, "\xEF\xBB\xBF", 3) == 0)
		skip = 3;
	l->line++;
	l->offset = l->next + skip;
	*ret = l->buffer + l->start + skip;
	*ret_length = length - skip;
	l->start += length + (found != NULL);
	l->next += length + (found != NULL);
	return 1;
}

int cwe_lines_refuse(struct cwb_err *err, int code, const char *path, size_t line,
	const char *field, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (err && err->code == 0) {
		err->line = (int)line;
		snprintf(err->field, sizeof(err->field), "%s", field);
	}
	return cwb_err_set(
		err, code, "%s:%zu: %s%s%s", path, line, field, *field ? ": " : "", text);
}
