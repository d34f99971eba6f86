/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small text files that an option names. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/safe_file.h"

int safe_fail(const struct cwp_host *host, int code, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	host->fail(host->ctx, text);
	return code;
}

/* The path of name, seen from the folder of the file beside. */
static char *path_of(const char *beside, const char *name)
{
	const char *slash = strrchr(beside, '/');
	size_t folder = *name != '/' && slash != NULL ? (size_t)(slash - beside) + 1 : 0, length = strlen(name);
	char *path = malloc(folder + length + 1);
	if (path != NULL) {
		memcpy(path, beside, folder);
		memcpy(path + folder, name, length + 1);
	}
	return path;
}

/* Bytes of the UTF-8 character at s, or 0: overlong forms, surrogates and what lies beyond U+10FFFF are none. */
static size_t character(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char first, last, low, high;
		size_t bytes;
	} form[] = {{0x01, 0x7F, 0, 0, 1}, {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
		{0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4},
		{0xF4, 0xF4, 0x80, 0x8F, 4}};
	for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
		if (s[0] >= form[i].first && s[0] <= form[i].last) {
			int good = form[i].bytes <= left && (form[i].bytes < 2 || (s[1] >= form[i].low && s[1] <= form[i].high));
			for (size_t k = 2; good && k < form[i].bytes; k++) {
				good = (s[k] & 0xC0) == 0x80;
			}
			return good ? form[i].bytes : 0;
		}
	}
	return 0;
}

/* Checks the text and takes out a byte order mark and CRs before LFs, in place; returns how many bytes are left, or SIZE_MAX and
 * where it is wrong. */
static size_t tidy(char *text, size_t length, size_t *ret_wrong)
{
	size_t from = length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, to = 0;
	while (from < length) {
		size_t n = character((const unsigned char *)text + from, length - from);
		if (n == 0) {
			*ret_wrong = from;
			return SIZE_MAX;
		}
		if (text[from] == '\r' && from + 1 < length && text[from + 1] == '\n') {
			from++;
			continue;
		}
		memmove(text + to, text + from, n);
		to += n;
		from += n;
	}
	return to;
}

static int read_all(FILE *f, char **ret, size_t *ret_length)
{
	char *text = malloc(SAFE_FILE_LIMIT + 2);
	if (text == NULL) {
		return -ENOMEM;
	}
	size_t n = fread(text, 1, SAFE_FILE_LIMIT + 1, f);
	if (ferror(f) || n > SAFE_FILE_LIMIT) {
		int r = ferror(f) ? -EIO : CWP_ELIMIT;
		free(text);
		return r;
	}
	*ret = text;
	*ret_length = n;
	return 0;
}

int safe_file_read(const struct cwp_host *host, const char *option, const char *beside, const char *name, char **ret,
	size_t *ret_length)
{
	char *path = path_of(beside, name), *text = NULL;
	size_t length = 0, wrong = 0;
	FILE *f = path != NULL ? fopen(path, "rbe") : NULL;
	int r = path == NULL ? -ENOMEM : f == NULL ? -errno : read_all(f, &text, &length);
	if (f != NULL) {
		(void)fclose(f);
	}
	if (r == CWP_ELIMIT) {
		r = safe_fail(host, r, "%s: %.300s: longer than %zu bytes", option, path, SAFE_FILE_LIMIT);
	} else if (r != 0 && path != NULL) {
		r = safe_fail(host, r, "%s: %.300s: %s; a name that begins without / is looked for in the folder of the data", option, path,
			strerror(-r));
	} else if (r == 0 && (length = tidy(text, length, &wrong)) == SIZE_MAX) {
		r = safe_fail(host, CWP_EFORMAT, "%s: %.300s: byte %zu is no UTF-8 text, or a NUL", option, path, wrong);
	}
	if (r == 0 && host->size > offsetof(struct cwp_host, reads)) {
		host->reads(host->ctx, path);
	}
	free(path);
	if (r != 0 || text == NULL) {
		free(text);
		return r;
	}
	text[length] = '\0';
	*ret = text;
	*ret_length = length;
	return 0;
}
