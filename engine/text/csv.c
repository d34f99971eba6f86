/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* CSV as RFC 4180 has it, record by record. The end of a record is looked for first, in the bytes
 * as they are; then the record is taken apart. */
#include "engine/text/csv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/text/utf8.h"

#define READ_SIZE ((size_t)64 << 10)

int cwe_csv_open(
	const char *path, enum cwe_encoding encoding, struct cwe_csv *ret, struct cwb_err *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cwb_err_errno(err, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return cwb_err_set(err, CWP_EFORMAT, "%s: not a regular file", path);
	}
	*ret = (struct cwe_csv){.path = path, .encoding = encoding, .fd = fd, .next_line = 1};
	return 0;
}

void cwe_csv_close(struct cwe_csv *csv)
{
	if (csv->fd >= 0)
		close(csv->fd);
	free(csv->buffer);
	free(csv->field);
	free(csv->text);
	*csv = (struct cwe_csv){.fd = -1};
}

int cwe_csv_refuse(const struct cwe_csv *csv, uint64_t offset, int code, struct cwb_err *err,
	const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (err && err->code == 0)
		err->line = (int)csv->line;
	return cwb_err_set(err, code, "%s:%zu: record %zu, byte %" PRIu64 ": %s", csv->path,
		csv->line, csv->record, offset, text);
}

/* Reads more behind what is there. */
static int fill(struct cwe_csv *csv, struct cwb_err *err)
{
	if (csv->start > 0) {
		memmove(csv->buffer, csv->buffer + csv->start, csv->end - csv->start);
		csv->end -= csv->start;
		csv->start = 0;
	}
	if (csv->room - csv->end < READ_SIZE) {
		size_t room = 2 * csv->room + 2 * READ_SIZE;
		char *buffer = realloc(csv->buffer, room);
		if (!buffer)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", csv->path);
		csv->buffer = buffer;
		csv->room = room;
	}
	ssize_t n;
	do
		n = read(csv->fd, csv->buffer + csv->end, READ_SIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return cwb_err_errno(err, "%s: reading", csv->path);
	csv->at_end = n == 0;
	csv->end += (size_t)n;
	return 0;
}

/* What is wrong with a byte of a record; NULL when it is in order. Moves the state on. */
static const char *step(struct cwe_csv_scan *s, char c)
{
	if (c == '\0')
		return "a NUL byte: this is no text file";
	s->lines += c == '\n';
	switch (s->state) {
	case CWE_CSV_QUOTED:
		if (c == '"')
			s->state = CWE_CSV_QUOTE;
		return NULL;
	case CWE_CSV_CR:
		return "a carriage return without a line feed behind it outside quotes: convert "
		       "the file's line ends";
	case CWE_CSV_QUOTE:
		if (c != '"' && c != ',' && c != '\r')
			return "text behind a closing quote: a quote inside quotes is written "
			       "twice";
		break;
	case CWE_CSV_START:
	case CWE_CSV_PLAIN:
		break;
	}
	if (c == '"' && s->state != CWE_CSV_PLAIN)
		s->state = CWE_CSV_QUOTED;
	else if (c == ',')
		s->state = CWE_CSV_START;
	else if (c == '\r')
		s->state = CWE_CSV_CR;
	else
		s->state = CWE_CSV_PLAIN;
	return NULL;
}

/* Whether a line feed here ends the record. */
static int ends(const struct cwe_csv_scan *s)
{
	return s->state != CWE_CSV_QUOTED;
}

/* 1 when text has the whole record, whose line feed (or the file's end) is at s->at; 0 when more is
 * to be read. */
static int find_end(const struct cwe_csv *csv, struct cwe_csv_scan *s, const char *text,
	size_t length, int at_end, struct cwb_err *err)
{
	for (; s->at < length; s->at++) {
		if (text[s->at] == '\n' && ends(s))
			return 1;
		const char *wrong = step(s, text[s->at]);
		if (wrong)
			return cwe_csv_refuse(
				csv, csv->offset + s->at, CWP_EFORMAT, err, "%s", wrong);
	}
	if (length > CWE_CSV_RECORD_LIMIT)
		return cwe_csv_refuse(csv, csv->offset, CWP_ELIMIT, err, "longer than %zu bytes%s",
			CWE_CSV_RECORD_LIMIT,
			s->state == CWE_CSV_QUOTED ? ": is a quote not closed?" : "");
	if (at_end && s->state == CWE_CSV_QUOTED)
		return cwe_csv_refuse(csv, csv->offset, CWP_EFORMAT, err,
			"a quote is not closed before the end of the file");
	if (at_end && s->state == CWE_CSV_CR)
		return cwe_csv_refuse(csv, csv->offset + length - 1, CWP_EFORMAT, err,
			"a carriage return without a line feed behind it outside quotes: convert "
			"the file's line ends");
	return at_end;
}

static int add_field(struct cwe_csv *csv, const char *text, size_t length, struct cwb_err *err)
{
	if (csv->count == CWE_CSV_COLUMN_LIMIT)
		return cwe_csv_refuse(csv, csv->offset, CWP_ELIMIT, err, "more than %zu fields",
			CWE_CSV_COLUMN_LIMIT);
	if (length > CWE_CSV_FIELD_LIMIT)
		return cwe_csv_refuse(csv, csv->offset, CWP_ELIMIT, err,
			"field %zu is longer than %zu bytes", csv->count + 1, CWE_CSV_FIELD_LIMIT);
	if (csv->count == csv->field_room) {
		size_t room = csv->field_room ? 2 * csv->field_room : 16;
		struct cwe_csv_field *field = realloc(csv->field, room * sizeof(*field));
		if (!field)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", csv->path);
		csv->field = field;
		csv->field_room = room;
	}
	csv->field[csv->count++] = (struct cwe_csv_field){text, length};
	return 0;
}

/* Takes the quotes of one field away, in place; *at ends behind it, at its comma or the end. */
static size_t unquote(char *text, size_t length, size_t *at)
{
	size_t from = *at;
	size_t n = from;
	if (from == length || text[from] != '"') {
		while (*at < length && text[*at] != ',')
			++*at;
		return *at - from;
	}
	for (++*at; *at < length; ++*at) {
		if (text[*at] == '"' && (*at + 1 == length || text[*at + 1] != '"')) {
			++*at;
			break;
		}
		*at += text[*at] == '"';
		text[n++] = text[*at];
	}
	return n - from;
}

/* The fields of a whole record without its line end, which find_end has found to be in order. */
static int split(struct cwe_csv *csv, const char *text, size_t length, struct cwb_err *err)
{
	size_t good = csv->encoding == CWE_ENCODING_UTF8 ? cwe_utf8_check(text, length) : length;
	if (good < length)
		return cwe_csv_refuse(csv, csv->offset + good, CWP_EFORMAT, err,
			"not UTF-8 (0x%02X): say charset in the job, or convert the file",
			(unsigned char)text[good]);
	if (csv->text_room < CWE_ENCODING_GROWTH * length + 1) {
		size_t room = CWE_ENCODING_GROWTH * length + 1024;
		char *grown = realloc(csv->text, room);
		if (!grown)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", csv->path);
		csv->text = grown;
		csv->text_room = room;
	}
	size_t n = cwe_encoding_decode(csv->encoding, text, length, csv->text);
	csv->count = 0;
	for (size_t at = 0;; at++) {
		size_t from = at;
		size_t have = unquote(csv->text, n, &at);
		int rc = add_field(csv, csv->text + from, have, err);
		if (rc < 0)
			return rc;
		int last = at >= n;
		csv->text[from + have] = '\0'; /* at most the comma's place */
		if (last)
			break;
	}
	if (csv->columns == 0)
		csv->columns = csv->count;
	if (csv->count != csv->columns)
		return cwe_csv_refuse(csv, csv->offset, CWP_EFORMAT, err,
			"%zu fields, but the first record has %zu", csv->count, csv->columns);
	return 0;
}

int cwe_csv_parse(struct cwe_csv *csv, const char *text, size_t length, struct cwb_err *err)
{
	struct cwe_csv_scan s = {0};
	int rc = find_end(csv, &s, text, length, 1, err);
	if (rc < 0)
		return rc;
	if (s.at < length)
		return cwe_csv_refuse(csv, csv->offset + s.at, CWP_EFORMAT, err,
			"the record ends before its time: was the file changed?");
	return split(csv, text, length, err);
}

/* Finds the next record, without its line end, in csv->offset and length; 0 at the end. */
static int find_record(struct cwe_csv *csv, struct cwb_err *err)
{
	struct cwe_csv_scan s = {0};
	for (;;) {
		int rc = 0;
		if (csv->start == csv->end && csv->at_end)
			return 0;
		if (csv->end > csv->start || csv->at_end)
			rc = find_end(csv, &s, csv->buffer + csv->start, csv->end - csv->start,
				csv->at_end, err);
		if (rc < 0)
			return rc;
		if (rc > 0)
			break;
		rc = fill(csv, err);
		if (rc < 0)
			return rc;
		if (csv->next == 0 && s.at == 0 && csv->end - csv->start >= 3 &&
			memcmp(csv->buffer + csv->start, "\xEF\xBB\xBF", 3) == 0) {
			csv->start += 3;
			csv->next = 3;
			csv->offset = 3;
		}
	}
	csv->length = s.at;
	csv->next_line += s.lines;
	return 1;
}

int cwe_csv_next(struct cwe_csv *csv, struct cwb_err *err)
{
	csv->record++;
	for (;;) {
		csv->offset = csv->next;
		csv->line = csv->next_line;
		int rc = find_record(csv, err);
		if (rc <= 0)
			return rc;
		const char *text = csv->buffer + csv->start;
		size_t has_end = csv->start + csv->length < csv->end;
		size_t taken = csv->length + has_end;
		if (csv->length > 0 && has_end && text[csv->length - 1] == '\r')
			csv->length--;
		csv->start += taken;
		csv->next += taken;
		csv->next_line += has_end;
		if (csv->length == 0)
			continue;
		rc = split(csv, text, csv->length, err);
		return rc < 0 ? rc : 1;
	}
}
