/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* WikiText's articles as lm-evaluation-harness scores them. */
#include <string.h>

#include "plugins/evaluators/perplexity/wikitext.h"
#include "plugins/evaluators/perplexity/words.h"

size_t wikitext_pages(char *text, size_t length)
{
	size_t to = 0;
	for (size_t from = 0; from < length;) {
		size_t run = 0;
		while (from + run < length && text[from + run] == '\n') {
			run++;
		}
		if (run == 0) {
			text[to++] = text[from++];
			continue;
		}
		from += run;
		text[to++] = '\n';
		for (size_t empty = run >= 3 ? (run - 3) / 2 : 0; empty > 0; empty--) {
			text[to++] = ' ';
			text[to++] = '\n';
		}
	}
	return to;
}

int wikitext_is_heading(const char *s, size_t left)
{
	const char *end = memchr(s, '\n', left);
	size_t n = end != NULL ? (size_t)(end - s) : left;
	return n >= 7 && memcmp(s, " = ", 3) == 0 && s[3] != '=' && memcmp(s + n - 3, " = ", 3) == 0;
}

/* str.replace; `to` is not longer than `from`. */
static size_t replace(char *text, size_t length, const char *from, const char *to)
{
	size_t n = strlen(from), m = strlen(to), out = 0;
	for (size_t i = 0; i < length;) {
		if (length - i >= n && memcmp(text + i, from, n) == 0) {
			memcpy(text + out, to, m);
			out += m;
			i += n;
		} else {
			text[out++] = text[i++];
		}
	}
	return out;
}

/* Takes away white space inside each pair of marks: re.sub(r"\(\s*([^\)]*?)\s*\)", r"(\1)", text). */
static size_t tighten(char *text, size_t length, char open, char close)
{
	size_t out = 0, i = 0;
	while (i < length) {
		const char *end = text[i] == open ? memchr(text + i + 1, close, length - i - 1) : NULL;
		text[out++] = text[i++];
		if (end == NULL) {
			continue;
		}
		size_t last = (size_t)(end - text), kept = out, space;
		while (i < last && (space = words_space(text + i, last - i)) > 0) {
			i += space;
		}
		while (i < last) { /* kept: behind the last character that is no white space */
			space = words_space(text + i, last - i);
			size_t bytes = space > 0 ? space : 1;
			memmove(text + out, text + i, bytes);
			out += bytes;
			i += bytes;
			kept = space > 0 ? kept : out;
		}
		out = kept;
		text[out++] = text[i++];
	}
	return out;
}

size_t wikitext_detokenize(char *text, size_t length)
{
	static const char *const first[][2] = {{"s '", "s'"}, {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."}, {" : ", ": "}, {" ; ", "; "},
		{" . ", ". "}, {" ! ", "! "}, {" ? ", "? "}, {" , ", ", "}};
	static const char pair[][2] = {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
	static const char *const last[][2] = {{"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="}, {" \xC2\xB0 ", "\xC2\xB0"},
		{" \n", "\n"}, {"\n ", "\n"}, {" N ", " 1 "}, {" 's", "'s"}};
	for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
		length = replace(text, length, first[i][0], first[i][1]);
	}
	for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
		length = tighten(text, length, pair[i][0], pair[i][1]);
	}
	for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
		length = replace(text, length, last[i][0], last[i][1]);
	}
	return length;
}
