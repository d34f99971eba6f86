/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Log lines. */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/message.h"

static enum cwd_level max_level = CWD_LOG_INFO;

void cwd_log_set_level(enum cwd_level level)
{
	max_level = level;
}

void cwd_log(enum cwd_level level, const char *format, ...)
{
	char text[1536], line[2048];
	va_list args;
	int n = 0;
	size_t length;

	if (level > max_level) {
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (getenv("JOURNAL_STREAM") != NULL) {
		n = snprintf(line, sizeof line, "<%d>", (int)level);
	} else {
		n = snprintf(line, sizeof line, "cwpd: %s",
			level <= CWD_LOG_ERROR     ? "error: "
			: level == CWD_LOG_WARNING ? "warning: "
						   : "");
	}
	length = (size_t)n + cww_escape(text, strlen(text), line + n, sizeof line - (size_t)n - 1);
	line[length++] = '\n';
	/* One write a line, so that lines of several threads do not mix; there is nowhere to report
	 * a failure to. */
	if (write(STDERR_FILENO, line, length) < 0) {
		return;
	}
}
