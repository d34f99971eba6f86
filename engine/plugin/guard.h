/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Runs a function in a process of its own, with a time limit: for what may crash, exit or hang. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* Forks; the child calls work(arg, fd), which writes its result to fd and returns an exit status. The child's standard
 * output goes to standard error and its input is empty, so that a plugin that prints cannot spoil the result. Waits at most
 * `seconds`, then kills the child with all its descendants that stayed in its group. *ret_text (freed with free()) is what
 * was written, at most 1 MiB, and *ret_status the exit status. CWP_EPLUGIN: killed by a signal, or out of time; path is for
 * the message. */
int cwe_guard_run(double seconds, int (*work)(void *arg, int fd), void *arg, const char *path, char **ret_text, size_t *ret_length,
	int *ret_status, struct cwb_err *err);

/* Writes all of it; 0 or -errno. */
int cwe_guard_write(int fd, const char *text, size_t length);
