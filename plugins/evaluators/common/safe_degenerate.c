/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts that say nothing. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/safe_degenerate.h"
#include "plugins/evaluators/common/safe_fold.h"

#define LOOP_TIMES 4
#define LOOP_LEAST 12 /* characters */
#define GRAM 8
#define GRAM_LEAST 64
#define GRAM_SHARE 0.6

static int is_word(uint32_t c)
{
	return c >= 0x80 ? !(c >= 0xA0 && c <= 0xBF) && !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x303F) && c != 0xFFFD
			: (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Whether one of the text's ends, at least its half, has a period that fits into it LOOP_TIMES. The failure function of the
 * reversed text has the longest border of each end, and so its shortest period (Knuth, Morris and Pratt 1977). */
static int loops(const uint32_t *c, size_t n, size_t *border)
{
	border[0] = 0;
	for (size_t i = 1; i < n; i++) {
		size_t k = border[i - 1];
		while (k > 0 && c[n - 1 - i] != c[n - 1 - k]) {
			k = border[k - 1];
		}
		border[i] = k + (c[n - 1 - i] == c[n - 1 - k]);
		size_t length = i + 1, period = length - border[i];
		if (length >= LOOP_LEAST && 2 * length >= n && period * LOOP_TIMES <= length) {
			return 1;
		}
	}
	return 0;
}

static int by_gram(const void *a, const void *b)
{
	const uint32_t *x = *(const uint32_t *const *)a, *y = *(const uint32_t *const *)b;
	for (size_t i = 0; i < GRAM; i++) {
		if (x[i] != y[i]) {
			return x[i] < y[i] ? -1 : 1;
		}
	}
	return 0;
}

/* 1, 0 or -ENOMEM. */
static int repeats(const uint32_t *c, size_t n)
{
	if (n < GRAM_LEAST) {
		return 0;
	}
	size_t grams = n - GRAM + 1, distinct = 1;
	const uint32_t **gram = calloc(grams, sizeof *gram);
	if (gram == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < grams; i++) {
		gram[i] = c + i;
	}
	qsort(gram, grams, sizeof *gram, by_gram);
	for (size_t i = 1; i < grams; i++) {
		distinct += by_gram(&gram[i - 1], &gram[i]) != 0;
	}
	free(gram);
	return (double)(grams - distinct) > GRAM_SHARE * (double)grams;
}

int safe_degenerate(const char *text, size_t length)
{
	size_t bytes, n = 0, words = 0;
	char *folded = safe_fold(text, length, &length);
	uint32_t *c = calloc(length + 1, sizeof *c);
	size_t *border = calloc(length + 1, sizeof *border);
	int r = folded != NULL && c != NULL && border != NULL ? SAFE_SENSE : -ENOMEM;
	for (size_t i = 0; r == SAFE_SENSE && i < length; i += bytes) {
		c[n] = safe_decode((const unsigned char *)folded + i, length - i, &bytes);
		words += is_word(c[n++]) != 0;
	}
	if (r == SAFE_SENSE && words == 0) {
		r = SAFE_EMPTY;
	} else if (r == SAFE_SENSE && loops(c, n, border)) {
		r = SAFE_LOOPING;
	} else if (r == SAFE_SENSE) {
		int again = repeats(c, n);
		r = again < 0 ? again : again ? SAFE_REPEATING : SAFE_SENSE;
	}
	free(folded);
	free(c);
	free(border);
	return r;
}
