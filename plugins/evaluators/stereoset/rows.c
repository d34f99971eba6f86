/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* StereoSet's rows: one object with c1_ to c3_, or the original's nested sentences. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/stereoset/stereoset.h"

static const char blank[] = "BLANK", ends[] = " .!?\r\n";
static const char *const labels[] = {"stereotype", "anti-stereotype", "unrelated", NULL};

/* The three texts of a row in the order of enum side. */
struct texts {
	const char *sentence[SIDES];
	const char *word[SIDES]; /* NULL: the row has none */
	size_t word_length[SIDES];
};

static int has_field(const struct rows *rows, uint64_t row, const char *field)
{
	const char *text;
	size_t length;
	return rows->host->records_text(rows->host->ctx, rows->records, row, field, &text, &length) != 0;
}

static int read_texts(const struct rows *rows, uint64_t row, int nested, int words, struct texts *ret)
{
	char field[48];
	for (size_t i = 0; i < SIDES; i++) {
		size_t number = nested ? i : i + 1, side = 0;
		(void)snprintf(field, sizeof field, nested ? "sentences.%zu.gold_label" : "c%zu_gold_label", number);
		int r = rows_word(rows, row, field, labels, &side);
		if (r == 0 && ret->sentence[side] != NULL) {
			r = rows_refuse(rows, row, field, "a second %s; an item has one sentence of each kind", labels[side]);
		}
		if (r == 0) {
			(void)snprintf(field, sizeof field, nested ? "sentences.%zu.sentence" : "c%zu_sentence", number);
			r = rows_text(rows, row, field, &ret->sentence[side]);
		}
		if (r == 0 && words && !nested) {
			(void)snprintf(field, sizeof field, "c%zu_word", number);
			r = rows_text(rows, row, field, &ret->word[side]);
		}
		if (r != 0) {
			return r;
		}
		ret->word_length[side] = ret->word[side] != NULL ? strlen(ret->word[side]) : 0;
	}
	return 0;
}

/* The word that stands for BLANK in a sentence of a nested row. 0 when the sentence is not its context with a word put in, as
 * where each was translated by itself. */
static int find_word(const char *context, const char *sentence, const char **ret, size_t *ret_length)
{
	const char *at = strstr(context, blank), *after = at + sizeof blank - 1;
	size_t before = (size_t)(at - context), behind = strlen(after), n = strlen(sentence);
	if (n <= before || memcmp(sentence, context, before) != 0) {
		return 0;
	}
	if (n > before + behind && strcmp(sentence + n - behind, after) == 0) {
		n -= behind;
	} else if (strspn(after, ends) == behind) {
		while (n > before && strchr(ends, sentence[n - 1]) != NULL) {
			n--; /* the end of a sentence is not always put alike */
		}
	} else {
		return 0;
	}
	*ret = sentence + before;
	*ret_length = n - before;
	return n > before;
}

/* Parts one after another. */
static char *joined(const char *a, size_t a_length, const char *between, const char *b, size_t b_length)
{
	size_t middle = strlen(between);
	char *text = malloc(a_length + middle + b_length + 1);
	if (text != NULL) {
		memcpy(text, a, a_length);
		memcpy(text + a_length, between, middle);
		memcpy(text + a_length + middle, b, b_length);
		text[a_length + middle + b_length] = '\0';
	}
	return text;
}

/* Length without white space at the end. */
static size_t trimmed(const char *text, size_t length)
{
	while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL) {
		length--;
	}
	return length;
}

static int scored_texts(const char *context, enum variant variant, const char *prefix, const struct texts *t, struct triple *ret)
{
	const char *at = strstr(context, blank);
	int filler = variant == VARIANT_FILLER && at != NULL, behind = filler || at == NULL;
	size_t left = at == NULL ? strlen(context) : filler ? trimmed(context, (size_t)(at - context)) : 0;
	const char *first = variant == VARIANT_SENTENCE ? prefix : "";
	int whole = 1;
	ret->context = joined(first, strlen(first), "", context, left);
	for (size_t side = 0; side < SIDES; side++) {
		const char *text = filler ? t->word[side] : t->sentence[side];
		size_t length = filler ? t->word_length[side] : strlen(text);
		ret->text[side] = joined("", 0, behind ? " " : "", text, length);
		ret->shown[side] = ret->text[side] != NULL ? ret->text[side] + behind : NULL;
		whole &= ret->text[side] != NULL;
	}
	return whole && ret->context != NULL ? 0 : -ENOMEM;
}

/* Whether two of the texts are the same, as in some translations: which one is preferred has no answer then. */
static int repeats(const struct triple *t)
{
	return strcmp(t->text[0], t->text[1]) == 0 || strcmp(t->text[0], t->text[2]) == 0 || strcmp(t->text[1], t->text[2]) == 0;
}

int stereoset_read(const struct rows *rows, uint64_t row, enum variant variant, const char *prefix, struct triple *ret)
{
	struct texts texts = {0};
	struct triple t = {0};
	const char *context = NULL;
	int nested = has_field(rows, row, "sentences.0.sentence") || has_field(rows, row, "sentences");
	int r = rows_text(rows, row, "id", &t.id);
	r = r == 0 ? rows_text(rows, row, "target", &t.target) : r;
	r = r == 0 ? rows_group(rows, row, "bias_type", &t.group) : r;
	r = r == 0 ? rows_text(rows, row, "context", &context) : r;
	int words = r == 0 && variant == VARIANT_FILLER && strstr(context, blank) != NULL;
	r = r == 0 ? read_texts(rows, row, nested, words, &texts) : r;
	for (size_t side = 0; r == 0 && words && nested && side < SIDES; side++) {
		r = find_word(context, texts.sentence[side], &texts.word[side], &texts.word_length[side]) ? 0 : 1;
	}
	r = r == 0 ? scored_texts(context, variant, prefix, &texts, &t) : r;
	r = r == 0 && repeats(&t) ? 1 : r;
	if (r != 0) {
		stereoset_free(&t);
		return r;
	}
	*ret = t;
	return 0;
}

void stereoset_free(struct triple *t)
{
	free(t->context);
	for (size_t side = 0; side < SIDES; side++) {
		free(t->text[side]);
	}
	*t = (struct triple){0};
}
