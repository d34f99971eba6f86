/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: perplexity by rolling windows, every token scored once (lm-evaluation-harness' loglikelihood_rolling).
 * word_perplexity = exp(-sum LL / words), words counted in the text itself; byte_perplexity likewise by UTF-8 bytes;
 * token_perplexity by the model's own tokens: compare that one between models of one tokenizer only.
 * Data: UTF-8 text; documents are separated by empty lines, or the file is one document. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/evaluator.h>

#include "plugins/evaluators/common/statistic.h"

enum { OPTION_DOCUMENTS, OPTION_WINDOW, OPTIONS };
enum documents { DOCUMENTS_PARAGRAPHS, DOCUMENTS_FILE };
enum unit { UNIT_WORD, UNIT_BYTE, UNIT_TOKEN };

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "documents", "paragraphs", "paragraphs|file", NULL,
		"what is scored by itself: passages between empty lines, or the whole file"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "window", "2048", "2..1048576", "tokens",
		"predictions a window at most; the model's context is a limit too"},
};

struct document {
	char *text;
	size_t length;
	double words;
	double loglik;
	double tokens;
};

struct perplexity {
	char *text; /* the file with LF line ends */
	struct document *document;
	size_t count;
	uint32_t window;
};

static void close_perplexity(void *state)
{
	struct perplexity *p = state;
	if (p != NULL) {
		free(p->text);
		free(p->document);
		free(p);
	}
}

/* Bytes of a white space character of Unicode at s, or 0. */
static size_t space(const unsigned char *s, size_t left)
{
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

static double count_words(const char *text, size_t length)
{
	const unsigned char *s = (const unsigned char *)text;
	double words = 0;
	int inside = 0;
	for (size_t i = 0; i < length;) {
		size_t n = space(s + i, length - i);
		words += n == 0 && !inside;
		inside = n == 0;
		i += n > 0 ? n : 1;
	}
	return words;
}

static int add(struct perplexity *p, size_t *capacity, char *text, size_t length)
{
	double words = count_words(text, length);
	if (words == 0) {
		return 0; /* nothing but white space */
	}
	if (p->count == *capacity) {
		size_t more = *capacity > 0 ? 2 * *capacity : 64;
		struct document *document = realloc(p->document, more * sizeof *document);
		if (document == NULL) {
			return -ENOMEM;
		}
		p->document = document;
		*capacity = more;
	}
	p->document[p->count++] = (struct document){.text = text, .length = length, .words = words};
	return 0;
}

static int split(struct perplexity *p, size_t length, enum documents documents)
{
	size_t capacity = 0, start = 0;
	if (documents == DOCUMENTS_FILE) {
		return add(p, &capacity, p->text, length);
	}
	for (size_t i = 0; i <= length; i++) {
		if (i == length || (p->text[i] == '\n' && i + 1 < length && p->text[i + 1] == '\n')) {
			int r = i > start ? add(p, &capacity, p->text + start, i - start) : 0;
			if (r != 0) {
				return r;
			}
			while (i < length && p->text[i] == '\n') {
				i++;
			}
			start = i;
		}
	}
	return 0;
}

/* Marks the passages that the job calibrates on as data text: there a passage without its last line end is its own key. */
static int find_calibrated(const struct cwp_host *host, const struct perplexity *p, unsigned char *skip)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct document *d = &p->document[i];
		size_t n = d->length;
		while (n > 0 && d->text[n - 1] == '\n') {
			n--;
		}
		char *key = malloc(n + 1);
		if (key == NULL) {
			return -ENOMEM;
		}
		memcpy(key, d->text, n);
		key[n] = '\0';
		skip[i] = host->calibrated(host->ctx, "text", key) != 0;
		free(key);
	}
	return 0;
}

/* Keeps the documents that the host's random stream chooses, of those that are not calibrated on. */
static int choose(const struct cwp_host *host, struct perplexity *p, uint64_t limit)
{
	if (p->document == NULL) {
		return 0;
	}
	size_t *index = NULL, n = SIZE_MAX;
	unsigned char *skip = calloc(p->count, 1);
	int r = skip == NULL ? -ENOMEM : host->size > offsetof(struct cwp_host, calibrated) ? find_calibrated(host, p, skip) : 0;
	if (r == 0) {
		n = statistic_choose(host, p->count, skip, NULL, limit, &index);
	}
	free(skip);
	if (n == SIZE_MAX) {
		return -ENOMEM;
	}
	if (n == 0) {
		free(index);
		host->fail(host->ctx, "the job calibrates on every passage of this file, so that none is left to evaluate; give calibration "
			"fewer samples");
		return CWP_EVALUE;
	}
	for (size_t i = 0; i < n; i++) {
		p->document[i] = p->document[index[i]];
	}
	p->count = n;
	free(index);
	return 0;
}

static int open_perplexity(const struct cwp_host *host, const struct cwp_setting *settings, const char *path,
	const char *data, size_t length, uint64_t limit, void **ret_state)
{
	struct perplexity *p = calloc(1, sizeof *p);
	size_t n = 0;
	if (p == NULL || (p->text = malloc(length + 1)) == NULL) {
		free(p);
		return -ENOMEM;
	}
	for (size_t i = 0; i < length; i++) {
		if (!(data[i] == '\r' && i + 1 < length && data[i + 1] == '\n')) {
			p->text[n++] = data[i];
		}
	}
	p->window = (uint32_t)settings[OPTION_WINDOW].integer;
	int r = split(p, n, (enum documents)settings[OPTION_DOCUMENTS].integer);
	r = r == 0 ? choose(host, p, limit) : r;
	if (r == 0 && p->count == 0) {
		char text[400];
		(void)snprintf(text, sizeof text, "%.300s: there is no text in the file", path);
		host->fail(host->ctx, text);
		r = CWP_EFORMAT;
	}
	if (r != 0) {
		close_perplexity(p);
		return r;
	}
	*ret_state = p;
	return 0;
}

static uint64_t count(void *state)
{
	return ((struct perplexity *)state)->count;
}

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const struct perplexity *p = state;
	ret->kind = CWP_REQUEST_ROLLING;
	ret->context = "";
	ret->context_length = 0;
	ret->continuation = p->document[i].text;
	ret->continuation_length = p->document[i].length;
	ret->window = p->window;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	struct perplexity *p = state;
	p->document[i].loglik = a->loglik;
	p->document[i].tokens = (double)a->tokens;
	return 0;
}

static double units(const struct document *d, enum unit unit)
{
	return unit == UNIT_WORD ? d->words : unit == UNIT_BYTE ? (double)d->length : d->tokens;
}

/* exp of a ratio of sums; the interval comes from the ratio's linearized variance over documents. */
static void give(const struct perplexity *p, const struct cwp_metric_sink *sink, const char *name, enum unit unit)
{
	double ll = 0, n = 0, square = 0;
	char id[32];
	for (size_t i = 0; i < p->count; i++) {
		ll -= p->document[i].loglik;
		n += units(&p->document[i], unit);
	}
	double ratio = ll / n, documents = (double)p->count;
	for (size_t i = 0; i < p->count; i++) {
		double d = -p->document[i].loglik - ratio * units(&p->document[i], unit);
		square += d * d;
	}
	double error = p->count > 1 ? sqrt(documents / (documents - 1) * square) / n : NAN;
	struct cwp_metric m = {.size = sizeof m, .name = name, .direction = CWP_LOWER_IS_BETTER, .n = p->count, .ideal = NAN,
		.value = exp(ratio), .standard_error = exp(ratio) * error, .low = exp(ratio - STATISTIC_Z * error),
		.high = exp(ratio + STATISTIC_Z * error), .form = CWP_FORM_EXP_MEAN};
	sink->metric(sink->ctx, &m);
	for (size_t i = 0; i < p->count; i++) {
		struct cwp_item item = {.size = sizeof item, .id = id, .value = -p->document[i].loglik / units(&p->document[i], unit),
			.weight = units(&p->document[i], unit), .choice = -1};
		(void)snprintf(id, sizeof id, "%zu", i);
		sink->item(sink->ctx, &item);
	}
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	give(state, sink, "word_perplexity", UNIT_WORD);
	give(state, sink, "byte_perplexity", UNIT_BYTE);
	give(state, sink, "token_perplexity", UNIT_TOKEN);
	return 0;
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_perplexity, count, request, answer,
	finish, close_perplexity};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "perplexity", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"perplexity of texts by words, bytes and tokens, rolling windows", options, get_interface};
