/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Error texts: one line, first error wins, and the exit code that belongs to each code. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#undef cwb_err_set
#undef cwb_err_errno

/* Length of the UTF-8 sequence at p, or 0 when its bytes are none. */
static size_t sequence_length(const unsigned char *p)
{
	size_t n = p[0] < 0x80   ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
		return 0;
	}
	return n;
}

/* Messages quote untrusted names and values: bytes that would break a line, a terminal, a log or a
 * JSON string are replaced. */
static void flatten(char *text)
{
	unsigned char *p = (unsigned char *)text;

	while (*p != '\0') {
		size_t n = sequence_length(p);
		if (*p == '\n' || *p == '\t' || *p == '\r') {
			*p = ' ';
		} else if (n == 0 || *p < 0x20 || *p == 0x7f) {
			*p = '?';
		} else if (*p == 0xc2 && p[1] < 0xa0) {
			/* C1: to some terminals U+009B is the beginning of a command. */
			p[0] = p[1] = '?';
		}
		p += n > 0 ? n : 1;
	}
}

/* A message that was cut ends with "..." and never in the middle of a UTF-8 sequence. */
static void mark_cut(char *text, size_t size)
{
	size_t end = size - 4;
	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) {
		end--;
	}
	memcpy(text + end, "...", 4);
}

__attribute__((format(printf, 2, 0))) static void format_message(
	struct cwb_err *err, const char *format, va_list ap)
{
	int n = vsnprintf(err->message, sizeof(err->message), format, ap);
	if (n < 0) {
		err->message[0] = '\0';
	} else if ((size_t)n >= sizeof(err->message)) {
		mark_cut(err->message, sizeof(err->message));
	}
	flatten(err->message);
}

int cwb_err_set(struct cwb_err *err, int code, const char *format, ...)
{
	va_list ap;

	if (err == NULL || err->code != 0) {
		return code;
	}
	err->code = code;
	va_start(ap, format);
	format_message(err, format, ap);
	va_end(ap);
	return code;
}

int cwb_err_errno(struct cwb_err *err, const char *format, ...)
{
	int saved = errno != 0 ? errno : EIO;
	va_list ap;

	if (err == NULL || err->code != 0) {
		return -saved;
	}
	err->code = -saved;
	va_start(ap, format);
	format_message(err, format, ap);
	va_end(ap);
	size_t used = strlen(err->message);
	char reason[128];
	/* strerror_r of glibc may return a constant instead of filling the buffer. */
	const char *text = strerror_r(saved, reason, sizeof(reason));
	int n = snprintf(err->message + used, sizeof(err->message) - used, ": %s", text);
	if (n >= 0 && (size_t)n >= sizeof(err->message) - used) {
		mark_cut(err->message, sizeof(err->message));
	}
	errno = saved;
	return -saved;
}

int cwb_err_prefix(struct cwb_err *err, const char *format, ...)
{
	va_list ap;

	if (err == NULL) {
		return CWP_ESTATE;
	}
	struct cwb_err old = *err;
	va_start(ap, format);
	format_message(err, format, ap);
	va_end(ap);
	size_t used = strlen(err->message);
	int n = snprintf(err->message + used, sizeof(err->message) - used, ": %s", old.message);
	if (n >= 0 && (size_t)n >= sizeof(err->message) - used) {
		mark_cut(err->message, sizeof(err->message));
	}
	return err->code;
}

void cwb_err_clear(struct cwb_err *err)
{
	if (err != NULL) {
		memset(err, 0, sizeof(*err));
	}
}

struct code_text {
	int code;
	int exit; /* sysexits.h: 65 bad input, 75 try again, 77 not permitted, 78 configuration */
	const char *text;
};

static const struct code_text codes[] = {
	{0, 0, "success"},
	{CWP_EFORMAT, 65, "malformed file"},
	{CWP_ESHAPE, 65, "shapes do not fit"},
	{CWP_ENUMBER, 65, "not a number"},
	{CWP_EUNKNOWN, 65, "unknown name"},
	{CWP_EVALUE, 65, "invalid value"},
	{CWP_EABI, 78, "plugin of another ABI"},
	{CWP_EPLUGIN, 1, "plugin failed"},
	{CWP_EDIGEST, 65, "digest does not match"},
	{CWP_ELIMIT, 1, "limit exceeded"},
	{CWP_EMISSING, 65, "missing"},
	{CWP_ECANCELLED, 1, "cancelled"},
	{CWP_EGATE, 2, "rejected by a gate"},
	{CWP_ESTATE, 1, "not possible in this state"},
	{CWP_EDENIED, 77, "not permitted"},
	{CWP_EPROTO, 1, "protocol error"},
	{-ENOENT, 65, "no such file"},
	{-ENOTDIR, 65, "not a directory"},
	{-EISDIR, 65, "is a directory"},
	{-EEXIST, 65, "file exists"},
	{-ELOOP, 65, "too many symbolic links"},
	{-ENAMETOOLONG, 65, "file name too long"},
	{-EACCES, 77, "permission denied"},
	{-EPERM, 77, "not permitted"},
	{-EROFS, 77, "read-only file system"},
	{-ENOMEM, 75, "out of memory"},
	{-ENOSPC, 75, "no space left"},
	{-EDQUOT, 75, "disk quota exceeded"},
	{-EAGAIN, 75, "try again"},
	{-EBUSY, 75, "busy"},
	{-EMFILE, 75, "too many open files"},
	{-ENFILE, 75, "too many open files in the system"},
	{-ETIMEDOUT, 75, "timed out"},
	{-EIO, 1, "input or output error"},
	{-ENODEV, 75, "the device is lost"},
};

static const struct code_text *find_code(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].code == code) {
			return &codes[i];
		}
	}
	return NULL;
}

const char *cwb_err_text(int code)
{
	const struct code_text *found = find_code(code);
	return found != NULL ? found->text : "failed";
}

int cwb_err_exit(int code)
{
	const struct code_text *found = find_code(code);
	return found != NULL ? found->exit : 1;
}
