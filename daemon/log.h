/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The daemon's own log: one line an event on standard error, with the journal's level in front when
 * it reads us. */
#pragma once

enum cwd_level {
	CWD_LOG_ERROR = 3,
	CWD_LOG_WARNING = 4,
	CWD_LOG_NOTICE = 5,
	CWD_LOG_INFO = 6,
	CWD_LOG_DEBUG = 7
};

/* Lines above this level are left out; default INFO. */
void cwd_log_set_level(enum cwd_level level);

/* Writes one line; control bytes of the arguments are escaped. [any-thread] */
void cwd_log(enum cwd_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
