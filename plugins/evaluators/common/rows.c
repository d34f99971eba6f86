/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of a data file that an evaluator makes its items of. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/rows.h"
#include "plugins/evaluators/common/statistic.h"

#define GROUP_LIMIT 63 /* bytes of a group's name, as the host has it */

int rows_open(const struct cwp_host *host, const char *path, const char *data, const char *records, struct rows *ret)
{
	const struct cwp_record_source source = {.size = sizeof source, .data = data, .records = records};
	struct rows r = {.host = host, .path = strdup(path)};
	if (r.path == NULL) {
		return -ENOMEM;
	}
	int rc = host->records_open(host->ctx, path, &source, &r.records);
	if (rc != 0) {
		free(r.path);
		return rc;
	}
	r.count = (size_t)host->records_count(host->ctx, r.records);
	*ret = r;
	return 0;
}

void rows_close(struct rows *r)
{
	if (r->records != NULL) {
		r->host->records_close(r->host->ctx, r->records);
	}
	free(r->path);
	*r = (struct rows){0};
}

int rows_refuse(const struct rows *r, uint64_t row, const char *field, const char *format, ...)
{
	char what[256], text[640];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(text, sizeof text, "%.300s:%llu: %.60s: %s", r->path,
		(unsigned long long)r->host->records_line(r->host->ctx, r->records, row), field, what);
	r->host->fail(r->host->ctx, text);
	return CWP_EVALUE;
}

int rows_refuse_file(const struct cwp_host *host, const char *path, const char *format, ...)
{
	char what[300], text[640];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(text, sizeof text, "%.300s: %s", path, what);
	host->fail(host->ctx, text);
	return CWP_EVALUE;
}

int rows_text(const struct rows *r, uint64_t row, const char *field, const char **ret)
{
	size_t length;
	return r->host->records_need(r->host->ctx, r->records, row, field, ret, &length);
}

int rows_group(const struct rows *r, uint64_t row, const char *field, const char **ret)
{
	const char *text = NULL;
	int rc = rows_text(r, row, field, &text);
	if (rc != 0) {
		return rc;
	}
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f || text[i] == '/') {
			return rows_refuse(r, row, field, "\"%.40s\" has a character that no group's name may have: a control character or '/'",
				text);
		}
	}
	if (n > GROUP_LIMIT) {
		return rows_refuse(r, row, field, "\"%.40s...\" is %zu bytes long; a group's name has at most %d", text, n, GROUP_LIMIT);
	}
	*ret = text;
	return 0;
}

int rows_word(const struct rows *r, uint64_t row, const char *field, const char *const *words, size_t *ret)
{
	char known[160] = "";
	const char *text = NULL;
	int rc = rows_text(r, row, field, &text);
	if (rc != 0) {
		return rc;
	}
	for (size_t i = 0; words[i] != NULL; i++) {
		size_t used = strlen(known);
		if (strcmp(words[i], text) == 0) {
			*ret = i;
			return 0;
		}
		(void)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", words[i]);
	}
	return rows_refuse(r, row, field, "\"%.40s\" is none of %s", text, known);
}

static unsigned char *items_to_skip(const struct rows *r, size_t times, const unsigned char *dropped)
{
	unsigned char *skip = calloc(r->count * times + 1, 1);
	for (size_t i = 0; skip != NULL && i < r->count; i++) {
		int out = (dropped != NULL && dropped[i] != 0) || r->host->records_calibrated(r->host->ctx, r->records, i) != 0;
		memset(skip + i * times, out, times);
	}
	return skip;
}

static size_t items_there(const struct rows *r, const unsigned char *dropped)
{
	size_t n = 0;
	for (size_t i = 0; i < r->count; i++) {
		n += dropped == NULL || dropped[i] == 0;
	}
	return n;
}

int rows_choose(const struct rows *r, size_t times, const unsigned char *dropped, const size_t *stratum, uint64_t limit,
	const char *noun, size_t **ret_index, size_t *ret_count)
{
	size_t *index = NULL, n = SIZE_MAX;
	if (times == 0 || r->count > SIZE_MAX / times / sizeof(size_t) / 2) {
		return -ENOMEM;
	}
	unsigned char *skip = items_to_skip(r, times, dropped);
	if (skip != NULL) {
		n = statistic_choose(r->host, r->count * times, skip, stratum, limit, &index);
	}
	free(skip);
	if (n == SIZE_MAX) {
		return -ENOMEM;
	}
	if (n == 0) {
		free(index);
		return items_there(r, dropped) > 0 ? rows_refuse_file(r->host, r->path, "the job calibrates on every %s of this file, so that "
			"none is left to evaluate; give calibration fewer samples", noun)
			: rows_refuse_file(r->host, r->path, "no %s is in the file", noun);
	}
	*ret_index = index;
	*ret_count = n;
	return 0;
}

size_t rows_stratum(size_t before, const char *text)
{
	uint64_t hash = 0xcbf29ce484222325u ^ before; /* FNV-1a */
	for (; *text != '\0'; text++) {
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
	}
	return (size_t)hash;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int rows_unique(const struct rows *r, const char **id, size_t count)
{
	qsort(id, count, sizeof *id, by_text);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(id[i - 1], id[i]) == 0) {
			return rows_refuse_file(r->host, r->path, "two items are called \"%.100s\"; each needs a name of its own", id[i]);
		}
	}
	return 0;
}
