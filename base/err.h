/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, said where the facts are known: a code, and a text that names place, field, value and remedy. */
#pragma once

#include <stddef.h>

#include <cwp/error.h>

struct cwb_err {
	int code;          /* 0, or the negative code that was returned */
	int line, column;  /* of a text file, from 1; 0 when there is no such place */
	char field[192];   /* path of a field such as "protect.fraction", else "" */
	char nearest[64];  /* the nearest valid name, else "" */
	char message[768]; /* one line, no final stop, no line end */
};

/* Fills *err (which may be NULL) and returns code, so that a function can end with
 * `return cwb_err_set(err, CWP_EFORMAT, "%s: header of %" PRIu64 " bytes is longer than the file", path, n);`
 * The first error wins: a filled err is kept unless cleared with cwb_err_clear. [any-thread] */
int cwb_err_set(struct cwb_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As cwb_err_set with the text of errno appended; returns -errno. */
int cwb_err_errno(struct cwb_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " in front of the message, where a caller knows more (a file, a tensor). Returns err->code;
 * for a NULL err, which knows no code, CWP_ESTATE: never 0, so that `return cwb_err_prefix(...)` cannot hide a failure. */
int cwb_err_prefix(struct cwb_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void cwb_err_clear(struct cwb_err *err);

/* Short fixed text of a code ("no such file", "unknown name"); never NULL. */
const char *cwb_err_text(int code);

/* Exit code of our programs for a code: 65 bad input, 75 try again, 77 not permitted, 78 configuration, 2 gate,
 * 1 everything else. */
int cwb_err_exit(int code);

#ifdef __clang_analyzer__
/* clang's analyzer sees no further than one file: so it learns that a failure is negative, and does not follow callers
 * into success with outputs that were never written. */
#define cwb_err_set(err, code, ...) ((void)(cwb_err_set)(err, code, __VA_ARGS__), (code))
#define cwb_err_errno(...) ((void)(cwb_err_errno)(__VA_ARGS__), -5)
#endif
