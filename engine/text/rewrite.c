/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The normalizers that are no Unicode form. */
#include "engine/text/rewrite.h"

#include <string.h>

#include "engine/text/bytelevel.h"
#include "engine/text/classes.h"
#include "engine/text/utf8.h"

int cwe_rewrite_prepend(
	const struct cwe_string *front, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	if (in->length == 0)
		return 0;
	int rc = cwe_buffer_put(out, front->text, front->length, in->origin > 0);
	return rc < 0 ? rc : cwe_buffer_put_part(out, in, 0, in->length);
}

static int is_space(const struct cwe_class *space, const char *text, size_t length)
{
	uint32_t point = 0;
	return cwe_utf8_next(text, length, &point) > 0 && cwe_class_has(space, point);
}

int cwe_rewrite_strip(int left, int right, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	const struct cwe_class *space = cwe_class_find("s", 1);
	size_t start = 0;
	size_t end = in->length;
	while (left && start < end && is_space(space, in->text + start, end - start))
		start += cwe_utf8_next(in->text + start, end - start, NULL);
	while (right && end > start) {
		size_t before = cwe_utf8_before(in->text, end);
		if (!is_space(space, in->text + before, end - before))
			break;
		end = before;
	}
	return cwe_buffer_put_part(out, in, start, end);
}

int cwe_rewrite_accents(const struct cwe_buffer *in, struct cwe_buffer *out)
{
	const struct cwe_class *accent = cwe_class_find("accent", strlen("accent"));
	size_t done = 0;
	int rc = 0;
	for (size_t i = 0, step; i < in->length && rc == 0; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(in->text + i, in->length - i, &point);
		step = step > 0 ? step : 1;
		if (point >= 0x300 && cwe_class_has(accent, point)) {
			rc = cwe_buffer_put_part(out, in, done, i);
			done = i + step;
		}
	}
	return rc < 0 ? rc : cwe_buffer_put_part(out, in, done, in->length);
}

int cwe_rewrite_bytes(const struct cwe_buffer *in, struct cwe_buffer *out)
{
	int rc = 0;
	for (size_t i = 0; i < in->length && rc == 0; i++)
		rc = cwe_buffer_put_point(
			out, cwe_bytelevel_point((unsigned char)in->text[i]), i < in->origin);
	return rc;
}
