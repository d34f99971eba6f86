/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The few-shot prompts of BIG-Bench Hard. */
#define _GNU_SOURCE 1 /* memmem */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/bbh/shots.h"
#include "plugins/evaluators/common/safe_file.h"

#define DASHES "-----\n"
#define QUESTION "\n\nQ: "
#define REASONING "\nA: Let's think step by step.\n"
#define ANSWER "the answer is "

static int refuse(const struct cwp_host *host, const char *task, const char *what)
{
	return safe_fail(host, CWP_EFORMAT, "prompts: %.200s.txt: %s; the file is to be one of cot-prompts of BIG-Bench Hard", task, what);
}

/* Bytes without white space at the end. */
static size_t trimmed(const char *s, size_t n)
{
	while (n > 0 && isspace((unsigned char)s[n - 1])) {
		n--;
	}
	return n;
}

/* The last answer of a reasoning: what follows ANSWER, without the final stop. */
static const char *answer_of(const char *reasoning, size_t n, size_t *ret_length)
{
	const char *found = NULL, *end = reasoning + n;
	for (const char *s = reasoning; (s = memmem(s, (size_t)(end - s), ANSWER, sizeof ANSWER - 1)) != NULL;) {
		found = s += sizeof ANSWER - 1;
	}
	if (found != NULL) {
		*ret_length = trimmed(found, (size_t)(end - found));
		*ret_length -= *ret_length > 0 && found[*ret_length - 1] == '.';
	}
	return found != NULL && *ret_length > 0 ? found : NULL;
}

/* Writes shots with their answers alone to `to`, which has room for all of `shots`. NULL, or what is wrong. */
static const char *shorten(const char *shots, char *to)
{
	size_t n = strlen(to);
	while (*shots != '\0') {
		const char *next = strstr(shots + sizeof QUESTION - 1, QUESTION);
		size_t length = next != NULL ? (size_t)(next - shots) : strlen(shots), answer_length = 0;
		const char *reasoning = memmem(shots, length, REASONING, sizeof REASONING - 1);
		if (reasoning == NULL) {
			return "a question has no line \"A: Let's think step by step.\" behind it";
		}
		size_t question = (size_t)(reasoning - shots), rest = question + sizeof REASONING - 1;
		const char *answer = answer_of(shots + rest, length - rest, &answer_length);
		if (answer == NULL) {
			return "a question's text does not say what the answer is";
		}
		memcpy(to + n, shots, question);
		memcpy(to + n + question, "\nA: ", 4);
		memcpy(to + n + question + 4, answer, answer_length);
		n += question + 4 + answer_length;
		to[n] = '\0';
		shots += length;
	}
	return NULL;
}

static int make(const struct cwp_host *host, const char *task, char *text, enum variant variant, char **ret)
{
	const char *start = strstr(text, DASHES);
	start = start != NULL ? start + sizeof DASHES - 1 : text;
	text[trimmed(text, strlen(text))] = '\0';
	const char *shots = strstr(start, QUESTION);
	if (shots == NULL) {
		return refuse(host, task, "there is no question, \"Q: \" behind an empty line");
	}
	char *made = malloc(strlen(start) + 1);
	if (made == NULL) {
		return -ENOMEM;
	}
	size_t instruction = (size_t)(shots - start);
	memcpy(made, start, instruction);
	made[instruction] = '\0';
	const char *wrong = NULL;
	if (variant == VARIANT_COT) {
		memcpy(made + instruction, shots, strlen(shots) + 1);
	} else if (variant == VARIANT_DIRECT) {
		wrong = shorten(shots, made);
	}
	if (wrong != NULL) {
		free(made);
		return refuse(host, task, wrong);
	}
	*ret = made;
	return 0;
}

int shots_read(const struct cwp_host *host, const char *beside, const char *folder, const char *task, enum variant variant,
	char **ret)
{
	size_t size = strlen(folder) + strlen(task) + sizeof "/.txt", length;
	char *name = malloc(size), *text = NULL;
	if (name == NULL) {
		return -ENOMEM;
	}
	(void)snprintf(name, size, "%s/%s.txt", folder, task);
	int r = safe_file_read(host, "prompts", beside, name, &text, &length);
	r = r == 0 ? make(host, task, text, variant, ret) : r;
	free(name);
	free(text);
	return r;
}

int shots_answer(enum variant variant, const char *text, size_t length, const char **ret, size_t *ret_length)
{
	const char *end = text + length, *line = end, *s = text;
	while (variant == VARIANT_COT) {
		s = memmem(s, (size_t)(end - s), ANSWER, sizeof ANSWER - 1);
		if (s == NULL) {
			return 0;
		}
		s += sizeof ANSWER - 1;
		line = memchr(s, '\n', (size_t)(end - s));
		line = line != NULL ? line : end;
		if (line > s) {
			do { /* the last character */
				line--;
			} while (line > s && ((unsigned char)*line & 0xC0) == 0x80);
			break;
		}
	}
	while (s < line && isspace((unsigned char)*s)) {
		s++;
	}
	*ret = s;
	*ret_length = trimmed(s, (size_t)(line - s));
	return 1;
}

/* The next character that counts, or -1 at the end. */
static int next(enum variant variant, const char *s, size_t n, size_t *at)
{
	while (*at < n) {
		unsigned char c = (unsigned char)s[(*at)++];
		if (variant != VARIANT_ZEROSHOT) {
			return c;
		}
		if (c >= 0x80 || !ispunct(c)) {
			return c < 0x80 ? tolower(c) : c;
		}
	}
	return -1;
}

int shots_equal(enum variant variant, const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t i = 0, k = 0;
	int c, d;
	do {
		c = next(variant, a, a_length, &i);
		d = next(variant, b, b_length, &k);
	} while (c == d && c >= 0);
	return c == d;
}
