/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text for people. Whatever comes from the daemon, a job file or a plugin goes through
 * cwc_text_clean. */
#include "cli/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

static void reserve(struct cwc_text *text, size_t more)
{
	size_t need, capacity;
	char *data;

	if (__builtin_add_overflow(text->length, more + 1, &need)) {
		abort();
	}
	if (need <= text->capacity) {
		return;
	}
	capacity = text->capacity ? text->capacity : 64;
	while (capacity < need) {
		capacity *= 2;
	}
	data = realloc(text->data, capacity);
	if (!data) {
		fputs("cwpctl: out of memory\n", stderr);
		exit(75);
	}
	text->data = data;
	text->capacity = capacity;
}

void cwc_text_free(struct cwc_text *text)
{
	if (!text) {
		return;
	}
	free(text->data);
	*text = (struct cwc_text){0};
}

void cwc_text_add(struct cwc_text *text, const char *bytes, size_t length)
{
	reserve(text, length);
	if (length) {
		memcpy(text->data + text->length, bytes, length);
	}
	text->length += length;
	text->data[text->length] = '\0';
}

void cwc_text_printf(struct cwc_text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0) {
		return;
	}
	reserve(text, (size_t)length);
	va_start(args, format);
	(void)vsnprintf(text->data + text->length, (size_t)length + 1, format, args);
	va_end(args);
	text->length += (size_t)length;
}

const char *cwc_text_get(const struct cwc_text *text)
{
	return text->data ? text->data : "";
}

/* Length of the UTF-8 character at bytes (1 to 4) and its code point; 0 where the bytes are not
 * UTF-8 (overlong forms, surrogates and what lies above U+10FFFF included). */
static size_t decode(const unsigned char *bytes, size_t length, uint32_t *ret)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t code;
	size_t size, i;

	if (bytes[0] < 0x80) {
		*ret = bytes[0];
		return 1;
	}
	if (bytes[0] >= 0xf8 || bytes[0] < 0xc0) {
		return 0;
	}
	size = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
	if (size > length) {
		return 0;
	}
	code = bytes[0] & (0xffu >> (size + 1));
	for (i = 1; i < size; i++) {
		if ((bytes[i] & 0xc0) != 0x80) {
			return 0;
		}
		code = code << 6 | (bytes[i] & 0x3f);
	}
	if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
		return 0;
	}
	*ret = code;
	return size;
}

/* C1 controls, line separators, and what turns the direction of writing. */
static int is_invisible(uint32_t code)
{
	return (code >= 0x80 && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
	       code == 0x061c || code == 0x200e || code == 0x200f ||
	       (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void cwc_text_clean(struct cwc_text *text, const char *bytes, size_t length, int lines)
{
	const unsigned char *at = (const unsigned char *)bytes;
	size_t size;
	uint32_t code = 0;

	for (; length > 0; at += size, length -= size) {
		size = decode(at, length, &code);
		if (size == 0) {
			size = 1;
			cwc_text_printf(text, "\\x%02x", at[0]);
		} else if (lines && (code == '\n' || code == '\t')) {
			cwc_text_add(text, (const char *)at, 1);
		} else if (code < 0x20 || code == 0x7f) {
			cwc_text_printf(text, "\\x%02x", (unsigned int)code);
		} else if (is_invisible(code)) {
			cwc_text_printf(text, "\\u{%" PRIx32 "}", code);
		} else {
			cwc_text_add(text, (const char *)at, size);
		}
	}
}

static size_t columns_of(uint32_t code)
{
	int width = wcwidth((wchar_t)code);

	/* -1: not known to the C library; most such characters are new symbols of one column. */
	return width < 0 ? 1 : (size_t)width;
}

size_t cwc_text_columns(const char *text)
{
	size_t length = strlen(text), columns = 0, size;
	uint32_t code = 0;

	for (; length > 0; text += size, length -= size) {
		size = decode((const unsigned char *)text, length, &code);
		if (size == 0) {
			size = 1;
			columns++;
		} else {
			columns += columns_of(code);
		}
	}
	return columns;
}

void cwc_text_add_columns(struct cwc_text *text, const char *from, size_t columns)
{
	size_t length, size, width, used = 0;
	uint32_t code = 0;

	if (cwc_text_columns(from) <= columns) {
		cwc_text_add(text, from, strlen(from));
		return;
	}
	if (columns == 0) {
		return;
	}
	for (length = strlen(from); length > 0; from += size, length -= size) {
		size = decode((const unsigned char *)from, length, &code);
		width = size == 0 ? 1 : columns_of(code);
		size = size == 0 ? 1 : size;
		if (used + width > columns - 1) {
			break;
		}
		cwc_text_add(text, from, size);
		used += width;
	}
	cwc_text_add(text, "~", 1);
}

void cwc_text_size(struct cwc_text *text, uint64_t bytes)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t i = 0;

	/* 1023.95 would print as "1024.0 KiB". */
	while (value >= 1023.95 && i + 1 < sizeof unit / sizeof unit[0]) {
		value /= 1024;
		i++;
	}
	if (i == 0) {
		cwc_text_printf(text, "%" PRIu64 " B", bytes);
	} else {
		cwc_text_printf(text, "%.1f %s", value, unit[i]);
	}
}

void cwc_text_duration(struct cwc_text *text, double seconds)
{
	uint64_t s;

	if (!(seconds >= 0) || seconds > 3.15e9) {
		cwc_text_add(text, "-", 1);
		return;
	}
	if (seconds < 9.95) {
		cwc_text_printf(text, "%.1f s", seconds);
		return;
	}
	s = (uint64_t)llround(seconds);
	if (s < 100) {
		cwc_text_printf(text, "%" PRIu64 " s", s);
	} else if (s < 3600) {
		cwc_text_printf(text, "%" PRIu64 " min %02" PRIu64 " s", s / 60, s % 60);
	} else if (s < 86400) {
		cwc_text_printf(text, "%" PRIu64 " h %02" PRIu64 " min", s / 3600, s % 3600 / 60);
	} else {
		cwc_text_printf(text, "%" PRIu64 " d %02" PRIu64 " h", s / 86400, s % 86400 / 3600);
	}
}

void cwc_text_number(struct cwc_text *text, double value)
{
	double size = fabs(value);

	if (!isfinite(value)) {
		cwc_text_add(text, "-", 1);
	} else if (value == 0) {
		cwc_text_add(text, "0", 1);
	} else if (size < 1e-3 || size >= 1e6) {
		cwc_text_printf(text, "%.2e", value);
	} else if (size >= 99.95) {
		cwc_text_printf(text, "%.0f", value);
	} else if (size >= 9.995) {
		cwc_text_printf(text, "%.1f", value);
	} else if (size >= 0.9995) {
		cwc_text_printf(text, "%.2f", value);
	} else {
		cwc_text_printf(text, "%.3f", value);
	}
}

void cwc_text_time(struct cwc_text *text, double seconds_since_1970)
{
	time_t moment;
	struct tm local;
	char buffer[64];

	if (!(seconds_since_1970 > 0) || seconds_since_1970 > 253402300799.0) {
		cwc_text_add(text, "-", 1);
		return;
	}
	moment = (time_t)seconds_since_1970;
	if (!localtime_r(&moment, &local)) {
		return;
	}
	if (strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M", &local) > 0) {
		cwc_text_printf(text, "%s", buffer);
	}
}
