/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* White space and words as Python has them. */
#include "plugins/evaluators/perplexity/words.h"

size_t words_space(const char *text, size_t left)
{
	const unsigned char *s = (const unsigned char *)text;
	if (*s == ' ' || (*s >= 0x09 && *s <= 0x0d) || (*s >= 0x1c && *s <= 0x1f)) {
		return 1;
	}
	if (left >= 2 && s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0)) {
		return 2;
	}
	if (left < 3 || s[0] < 0xe1 || s[0] > 0xe3) {
		return 0;
	}
	unsigned code = (unsigned)(s[0] & 15) << 12 | (unsigned)(s[1] & 63) << 6 | (s[2] & 63u);
	return code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
			code == 0x205f || code == 0x3000 ? 3 : 0;
}

double words_count(const char *text, size_t length)
{
	double words = 0;
	int inside = 0;
	for (size_t i = 0; i < length;) {
		size_t n = words_space(text + i, length - i);
		words += n == 0 && !inside;
		inside = n == 0;
		i += n > 0 ? n : 1;
	}
	return words;
}

double words_parts(const char *text, size_t length)
{
	double runs = 0;
	int inside = 0;
	for (size_t i = 0; i < length;) {
		size_t n = words_space(text + i, length - i);
		runs += n > 0 && !inside;
		inside = n > 0;
		i += n > 0 ? n : 1;
	}
	return runs + 1;
}
