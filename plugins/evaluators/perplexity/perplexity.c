/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: perplexity, in two forms that are never to be mixed: numbers of the two differ by a factor of about two.
 * rolling: every token scored once, in rolling windows, the first after the beginning-of-text token (lm-evaluation-harness'
 *   loglikelihood_rolling). word_perplexity = exp(-sum LL / words), words counted in the text itself; byte_perplexity likewise by
 *   UTF-8 bytes; token_perplexity by the model's own tokens: compare that one between models of one tokenizer only.
 * windows: the texts as one stream in windows of `window` tokens that do not overlap and have no beginning-of-text token; in
 *   each all but the first are scored (GPTQ's, Wanda's and SparseGPT's evaluation of WikiText-2, which multiply the mean by the
 *   window and divide by it again). token_perplexity_2048, the window in its name. Its items are the windows.
 * documents: paragraphs (between empty lines), file, or wikitext: the articles of WikiText's raw test text. Rolling takes those
 *   as task wikitext of lm-evaluation-harness does: spaces of tokens taken out before scoring, words and bytes counted before
 *   that, an empty word at either end counted too.
 * Data: UTF-8 text. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/evaluator.h>

#include "plugins/evaluators/common/statistic.h"
#include "plugins/evaluators/perplexity/wikitext.h"
#include "plugins/evaluators/perplexity/words.h"

enum { OPTION_DOCUMENTS, OPTION_WINDOW, OPTION_FORM, OPTIONS };
enum documents { DOCUMENTS_PARAGRAPHS, DOCUMENTS_FILE, DOCUMENTS_WIKITEXT };
enum form { FORM_ROLLING, FORM_WINDOWS };
enum unit { UNIT_WORD, UNIT_BYTE, UNIT_TOKEN };

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "documents", "paragraphs", "paragraphs|file|wikitext", NULL,
		"what is scored by itself, and what limit chooses of: passages between empty lines, the whole file, or WikiText's articles"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "window", "2048", "2..1048576", "tokens",
		"predictions a window at most; the model's context is a limit too"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "form", "rolling", "rolling|windows", NULL,
		"rolling: every token once; windows: the texts as one stream in windows that do not overlap, as GPTQ's authors do"},
};

struct document {
	char *text;
	size_t length;
	double words;
	double bytes;
	double loglik;
	double tokens;
};

struct perplexity {
	const struct cwp_host *host;
	char *text; /* the file with LF line ends; of articles, pages */
	struct document *document;
	size_t count;
	uint32_t window;
	enum form form;
	char name[32]; /* of the metric of windows */
	struct cwp_window *part; /* [parts] the windows of the stream */
	size_t parts;
};

static void close_perplexity(void *state)
{
	struct perplexity *p = state;
	if (p != NULL) {
		free(p->text);
		free(p->document);
		free(p->part);
		free(p);
	}
}

static int add(struct perplexity *p, size_t *capacity, char *text, size_t length)
{
	double words = words_count(text, length);
	if (words == 0 && p->form == FORM_ROLLING) {
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
	p->document[p->count++] = (struct document){.text = text, .length = length, .words = words, .bytes = (double)length};
	return 0;
}

/* Whether a document begins at s + i, i > 0. */
static int begins(const char *s, size_t i, size_t length, enum documents documents)
{
	if (documents == DOCUMENTS_WIKITEXT) {
		return s[i - 1] == '\n' && wikitext_is_heading(s + i, length - i);
	}
	return documents == DOCUMENTS_PARAGRAPHS && s[i] != '\n' && s[i - 1] == '\n' && i > 1 && s[i - 2] == '\n';
}

static int split(struct perplexity *p, size_t length, enum documents documents)
{
	size_t capacity = 0, start = 0;
	int r = 0;
	for (size_t i = 1; r == 0 && i <= length; i++) {
		if (i == length || begins(p->text, i, length, documents)) {
			size_t end = i;
			/* The stream of windows keeps what stands between, for its documents are to be put together again. */
			int cut = p->form == FORM_ROLLING && documents == DOCUMENTS_PARAGRAPHS &&
				(i < length || (end > start + 1 && p->text[end - 2] == '\n'));
			while (cut && end > start && p->text[end - 1] == '\n') {
				end--;
			}
			r = add(p, &capacity, p->text + start, end - start);
			start = i;
		}
	}
	return r;
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

/* What the harness scores of the articles that were chosen; words and bytes are those of the pages. */
static void make_articles(struct perplexity *p)
{
	for (size_t i = 0; i < p->count; i++) {
		struct document *d = &p->document[i];
		d->words = words_parts(d->text, d->length);
		d->length = wikitext_detokenize(d->text, d->length);
	}
}

/* Puts the documents that were chosen together into one. */
static void make_stream(struct perplexity *p)
{
	size_t n = 0;
	for (size_t i = 0; i < p->count; i++) {
		memmove(p->text + n, p->document[i].text, p->document[i].length); /* they are in the text's order */
		n += p->document[i].length;
	}
	p->document[0] = (struct document){.text = p->text, .length = n, .words = words_count(p->text, n), .bytes = (double)n};
	p->count = 1;
}

static int has_text(const struct perplexity *p, const char *path)
{
	char text[400];
	for (size_t i = 0; i < p->count; i++) {
		if (p->document[i].words > 0) {
			return 0;
		}
	}
	(void)snprintf(text, sizeof text, "%.300s: there is no text in the file", path);
	p->host->fail(p->host->ctx, text);
	return CWP_EFORMAT;
}

/* A text of fewer bytes than a window's tokens has no window, whatever the tokenizer. One that is longer and has none all the same
 * has n = 0 and no value. */
static int fills_window(const struct perplexity *p, const char *path)
{
	char text[400];
	if (p->document[0].length >= p->window) {
		return 0;
	}
	(void)snprintf(text, sizeof text, "%.200s: the text has fewer tokens than one window of %u: choose a smaller window, or take more text",
		path, (unsigned)p->window);
	p->host->fail(p->host->ctx, text);
	return CWP_EVALUE;
}

static int open_perplexity(const struct cwp_host *host, const struct cwp_setting *settings, const char *path,
	const char *data, size_t length, uint64_t limit, void **ret_state)
{
	struct perplexity *p = calloc(1, sizeof *p);
	enum documents documents = (enum documents)settings[OPTION_DOCUMENTS].integer;
	size_t n = 0;
	if (p == NULL || (p->text = malloc(length + 1)) == NULL) {
		free(p);
		return -ENOMEM;
	}
	p->host = host;
	p->form = (enum form)settings[OPTION_FORM].integer;
	p->window = (uint32_t)settings[OPTION_WINDOW].integer;
	(void)snprintf(p->name, sizeof p->name, "token_perplexity_%u", (unsigned)p->window);
	for (size_t i = 0; i < length; i++) {
		if (!(data[i] == '\r' && i + 1 < length && data[i + 1] == '\n')) {
			p->text[n++] = data[i];
		}
	}
	int articles = documents == DOCUMENTS_WIKITEXT && p->form == FORM_ROLLING;
	n = articles ? wikitext_pages(p->text, n) : n;
	int r = split(p, n, documents);
	r = r == 0 ? has_text(p, path) : r;
	r = r == 0 ? choose(host, p, limit) : r;
	if (r != 0) {
		close_perplexity(p);
		return r;
	}
	if (articles) {
		make_articles(p);
	} else if (p->form == FORM_WINDOWS) {
		make_stream(p);
		r = fills_window(p, path);
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
	ret->kind = p->form == FORM_WINDOWS ? CWP_REQUEST_WINDOWS : CWP_REQUEST_ROLLING;
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
	if (p->form == FORM_WINDOWS) {
		size_t n = a->size >= sizeof *a ? a->windows : 0; /* a host that knows none */
		struct cwp_window *part = malloc((n + 1) * sizeof *part);
		if (part == NULL) {
			return -ENOMEM;
		}
		for (size_t k = 0; k < n; k++) {
			part[k] = a->window[k];
		}
		free(p->part);
		p->part = part;
		p->parts = n;
	}
	return 0;
}

static double units(const struct document *d, enum unit unit)
{
	return unit == UNIT_WORD ? d->words : unit == UNIT_BYTE ? d->bytes : d->tokens;
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

/* The windows' metric. The host draws its interval from the windows, as if they were texts of their own. */
static void give_windows(const struct perplexity *p, const struct cwp_metric_sink *sink)
{
	const struct document *d = &p->document[0];
	double mean = d->tokens > 0 ? -d->loglik / d->tokens : NAN;
	struct cwp_metric m = {.size = sizeof m, .name = p->name, .direction = CWP_LOWER_IS_BETTER, .ideal = NAN, .value = exp(mean),
		.n = p->parts, .standard_error = NAN, .low = NAN, .high = NAN, .form = CWP_FORM_EXP_MEAN};
	char id[32];
	sink->metric(sink->ctx, &m);
	for (size_t i = 0; i < p->parts; i++) {
		double tokens = (double)p->part[i].tokens;
		struct cwp_item item = {.size = sizeof item, .id = id, .value = tokens > 0 ? -p->part[i].loglik / tokens : 0, .weight = tokens,
			.choice = -1};
		(void)snprintf(id, sizeof id, "%zu", i);
		sink->item(sink->ctx, &item);
	}
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	if (((struct perplexity *)state)->form == FORM_WINDOWS) {
		give_windows(state, sink);
		return 0;
	}
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
	"perplexity of texts by words, bytes and tokens in rolling windows, or by tokens in windows that do not overlap", options, get_interface};
