/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: checking, stepping, and the replacement of what is invalid. */
#include "engine/text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Range that the second byte of a sequence must have; 0 where the lead byte is none. Returns the
 * sequence's length. */
static size_t lead(unsigned char c, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = 0x80;
	*ret_high = 0xBF;
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c <= 0xDF)
		return 2;
	if (c >= 0xE0 && c <= 0xEF) {
		if (c == 0xE0)
			*ret_low = 0xA0;
		if (c == 0xED)
			*ret_high = 0x9F;
		return 3;
	}
	if (c >= 0xF0 && c <= 0xF4) {
		if (c == 0xF0)
			*ret_low = 0x90;
		if (c == 0xF4)
			*ret_high = 0x8F;
		return 4;
	}
	return 0;
}

/* Bytes at the start of text that begin a valid sequence: its whole length, or less when it breaks
 * off; 0 when the first byte begins none. *ret_need: the length that the lead byte announces. */
static size_t valid_part(const char *text, size_t length, size_t *ret_need)
{
	unsigned char low;
	unsigned char high;
	*ret_need = lead((unsigned char)text[0], &low, &high);
	if (*ret_need == 0)
		return 0;
	size_t have = 1;
	while (have < *ret_need && have < length) {
		unsigned char c = (unsigned char)text[have];
		if (c < (have == 1 ? low : 0x80) || c > (have == 1 ? high : 0xBF))
			break;
		have++;
	}
	return have;
}

size_t cwe_utf8_next(const char *text, size_t length, uint32_t *ret_point)
{
	size_t need;
	if (length == 0 || valid_part(text, length, &need) < need || need == 0)
		return 0;
	static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
	uint32_t point = (unsigned char)text[0] & mask[need];
	for (size_t i = 1; i < need; i++)
		point = point << 6 | ((unsigned char)text[i] & 0x3F);
	if (ret_point)
		*ret_point = point;
	return need;
}

size_t cwe_utf8_check(const char *text, size_t length)
{
	size_t i = 0;
	while (i < length) {
		if ((unsigned char)text[i] < 0x80) {
			i++;
			continue;
		}
		size_t n = cwe_utf8_next(text + i, length - i, NULL);
		if (n == 0)
			return i;
		i += n;
	}
	return length;
}

size_t cwe_utf8_put(uint32_t point, char out[4])
{
	if (point < 0x80) {
		out[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (char)(0xC0 | point >> 6);
		out[1] = (char)(0x80 | (point & 0x3F));
		return 2;
	}
	if (point < 0x10000) {
		out[0] = (char)(0xE0 | point >> 12);
		out[1] = (char)(0x80 | (point >> 6 & 0x3F));
		out[2] = (char)(0x80 | (point & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | point >> 18);
	out[1] = (char)(0x80 | (point >> 12 & 0x3F));
	out[2] = (char)(0x80 | (point >> 6 & 0x3F));
	out[3] = (char)(0x80 | (point & 0x3F));
	return 4;
}

size_t cwe_utf8_before(const char *text, size_t end)
{
	size_t start = end - 1;
	while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
		start--;
	return start;
}

char *cwe_utf8_repair(const char *text, size_t length, size_t *ret_length)
{
	size_t size;
	if (__builtin_mul_overflow(length, (size_t)3, &size) ||
		__builtin_add_overflow(size, (size_t)1, &size))
		return NULL;
	/* Usually nothing is wrong: then the copy needs no more room than the text. */
	size_t good = cwe_utf8_check(text, length);
	if (good == length)
		size = length + 1;
	char *out = malloc(size);
	if (!out)
		return NULL;
	if (good > 0)
		memcpy(out, text, good);
	size_t at = good;
	for (size_t i = good; i < length;) {
		size_t need;
		size_t have = valid_part(text + i, length - i, &need);
		if (have > 0 && have == need) {
			memcpy(out + at, text + i, have);
			at += have;
		} else {
			memcpy(out + at, "\xEF\xBF\xBD", 3);
			at += 3;
			have = have > 0 ? have : 1;
		}
		i += have;
	}
	out[at] = '\0';
	*ret_length = at;
	return out;
}
