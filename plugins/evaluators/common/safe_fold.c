/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts made alike. */
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/safe_fold.h"

/* Letters under U+00C0 to U+017F and U+1E00 to U+1EFF; '.': no letter, or more than one. */
static const char latin[] =
	"aaaaaa.ceeeeiiiidnooooo.ouuuuy.." /* C0 */
	"aaaaaa.ceeeeiiiidnooooo.ouuuuy.y" /* E0 */
	"aaaaaaccccccccddddeeeeeeeeeegggg" /* 100 */
	"gggghhhhiiiiiiiiii..jjkkklllllll" /* 120 */
	"lllnnnnnnnnnoooooo..rrrrrrssssss" /* 140 */
	"ssttttttuuuuuuuuuuuuwwyyyzzzzzzs"; /* 160 */
static const char additional[] =
	"aabbbbbbccddddddddddeeeeeeeeeeff" /* 1E00 */
	"gghhhhhhhhhhiiiikkkkkkllllllllmm" /* 1E20 */
	"mmmmnnnnnnnnoooooooopppprrrrrrrr" /* 1E40 */
	"ssssssssssttttttttuuuuuuuuuuvvvv" /* 1E60 */
	"wwwwwwwwwwxxxxyyzzzzzzhtwyasssss" /* 1E80 */
	"aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee" /* 1EA0 */
	"eeeeeeeeiiiioooooooooooooooooooo" /* 1EC0 */
	"oooouuuuuuuuuuuuuuyyyyyyyyllvvyy"; /* 1EE0 */

unsigned safe_decode(const unsigned char *s, size_t left, size_t *ret_bytes)
{
	size_t n = s[0] >= 0xF0 && s[0] < 0xF8 ? 4 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xC0 && s[0] < 0xE0 ? 2 : 1;
	unsigned code = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (i >= left || (s[i] & 0xC0) != 0x80) {
			*ret_bytes = 1;
			return s[0];
		}
		code = code << 6 | (s[i] & 0x3Fu);
	}
	*ret_bytes = n;
	return code;
}

static int is_space(unsigned c)
{
	return c == ' ' || (c >= 9 && c <= 13) || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
		c == 0x202F || c == 0x205F || c == 0x3000;
}

static int is_apostrophe(unsigned c)
{
	return c == '\'' || c == 0xB4 || c == 0x2BC || c == 0x2018 || c == 0x2019 || c == 0x201B || c == 0x2032 || c == 0xFF07;
}

static int is_left_out(unsigned c)
{
	return (c < 0x80 && c != 0 && strchr("*_#`~>|\"", (int)c) != NULL) || c == 0xAB || c == 0xBB || (c >= 0x201C && c <= 0x201F) ||
		(c >= 0x300C && c <= 0x300F) || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
		(c >= 0x2060 && c <= 0x2064) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF || c == 0xAD ||
		(c >= 0x300 && c <= 0x36F) /* accents that stand alone */ || (c >= 0x64B && c <= 0x652) || c == 0x670 || c == 0x640;
}

/* What stands for a character; NULL: the character itself. */
static const char *folded(unsigned c, char letter[2])
{
	char l = '.';
	if (is_left_out(c)) {
		return "";
	}
	if (is_apostrophe(c)) {
		return "'";
	}
	if (c >= 'A' && c <= 'Z') {
		l = (char)(c - 'A' + 'a');
	} else if (c >= 0xC0 && c <= 0x17F) {
		l = latin[c - 0xC0];
	} else if (c >= 0x1E00 && c <= 0x1EFF) {
		l = c == 0x1E9E ? '.' : additional[c - 0x1E00];
	} else if (c == 0x1A0 || c == 0x1A1) {
		l = 'o';
	} else if (c == 0x1AF || c == 0x1B0) {
		l = 'u';
	}
	if (l != '.') {
		letter[0] = l;
		return letter;
	}
	switch (c) {
	case 0xDF: case 0x1E9E: return "ss";
	case 0xC6: case 0xE6: return "ae";
	case 0x152: case 0x153: return "oe";
	case 0xDE: case 0xFE: return "th";
	case 0x132: case 0x133: return "ij";
	case 0x622: case 0x623: case 0x625: case 0x671: return "\xD8\xA7"; /* alef */
	case 0x9DC: return "\xE0\xA6\xA1\xE0\xA6\xBC";
	case 0x9DD: return "\xE0\xA6\xA2\xE0\xA6\xBC";
	case 0x9DF: return "\xE0\xA6\xAF\xE0\xA6\xBC";
	default: return NULL;
	}
}

char *safe_fold(const char *text, size_t length, size_t *ret_length)
{
	const unsigned char *s = (const unsigned char *)text;
	/* The Bengali letters take six bytes for three; nothing else grows. */
	char *out = malloc(2 * length + 1), letter[2] = "";
	size_t n = 0, bytes;
	int space = 0;
	for (size_t i = 0; out != NULL && i < length; i += bytes) {
		unsigned c = safe_decode(s + i, length - i, &bytes);
		if (is_space(c) && (bytes > 1 || c < 0x80)) {
			space = n > 0;
			continue;
		}
		const char *with = bytes == 1 && c >= 0x80 ? NULL : folded(c, letter);
		size_t more = with != NULL ? strlen(with) : bytes;
		if (more > 0 && space) {
			out[n++] = ' ';
			space = 0;
		}
		memcpy(out + n, with != NULL ? with : text + i, more);
		n += more;
	}
	if (out != NULL) {
		out[n] = '\0';
		*ret_length = n;
	}
	return out;
}
