/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One run of cwpctl: what was asked for, where it goes, and how the daemon is reached. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stddef.h>

#include "cli/text.h"
#include "cli/verb.h"

/* Exit codes, as job files' users and scripts know them. */
enum cwc_exit {
	CWC_DONE = 0,
	CWC_FAILED = 1,   /* a job failed or was cancelled */
	CWC_REJECTED = 2, /* its gate rejected it */
	CWC_USAGE = 64,
	CWC_BAD_INPUT = 65,   /* bad input, or no such job */
	CWC_UNAVAILABLE = 69, /* no daemon, or it drains */
	CWC_TRY_AGAIN = 75,   /* or a wait timed out */
	CWC_DENIED = 77,
	CWC_CONFIG = 78
};

struct cwc_setting {
	const struct cwc_option *option;
	const char *value; /* "" for a switch */
};

struct cwc {
	const struct cwc_verb *verb;
	struct cwc_setting *setting;
	size_t n_settings;
	char **operand;
	int n_operands;
	const char *folder; /* of the sockets; NULL: the user's own daemon's, else the system's */
	int json;
	int colour;
	int terminal; /* standard output is one */
	size_t width; /* its columns; 0 where it is none */
};

/* The value of an option ("" for a switch), NULL where it was not given. The index counts an option
 * that repeats. */
const char *cwc_option_value(const struct cwc *cwc, const char *name, size_t index);
int cwc_option_given(const struct cwc *cwc, const char *name);

/* Fills cwc from the command line. Returns -1 to go on, else the exit code; what had to be said was
 * said. */
int cwc_options_parse(struct cwc *cwc, int argc, char **argv);

/* Usage errors: one line and a hint at --help; returns CWC_USAGE. */
int cwc_usage_error(const struct cwc *cwc, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Any other error: one line "cwpctl: ..." on standard error, cleaned, and with --json an object on
 * standard output,
 * {"error": {"name", "message", "exit", "parameters"}}. parameters is borrowed and may be NULL.
 * Returns exit. */
int cwc_fail(const struct cwc *cwc, int exit, const char *name, const json_t *parameters,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Prints the one JSON document of this run; the reference is stolen. Returns CWC_DONE, or
 * CWC_TRY_AGAIN where it could not be written. */
int cwc_print_json(const struct cwc *cwc, json_t *json);
/* Prints and frees. */
void cwc_print(struct cwc_text *text);

/* "--priority" and the like. Returns 0, or CWC_USAGE after saying why. */
int cwc_parse_int(const struct cwc *cwc, const char *what, const char *text, int64_t low,
	int64_t high, int64_t *ret);
/* "90s", "2h": seconds. */
int cwc_parse_time(const struct cwc *cwc, const char *what, const char *text, int64_t *ret);

/* Columns of the terminal that descriptor fd is, 0 where it is none. */
size_t cwc_terminal_width(int fd);

/* Reads a job file of at most 1 MiB ("-": standard input) into *ret, to be freed. Returns the exit code; what went wrong was said.
 * submit.c */
int cwc_job_text(const struct cwc *cwc, const char *path, char **ret, size_t *ret_length);
