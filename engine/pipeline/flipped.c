/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Items that flipped: as a metric of their own, and with their texts in the report. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/pairs.h"
#include "engine/text/utf8.h"

#define FLIPPED 200                    /* of an evaluation that are shown */
#define TEXTS (UINT64_C(8) << 20)      /* bytes of all their texts in a report, about */
#define TEXT_LEAST 128                 /* bytes of one that are shown at least */

/* An item's choices under each model, and the metric that has them. */
struct choice {
	struct cwe_pair pair;
	size_t metric, at; /* numbers: of the metric, of the item in the list */
};

struct choices {
	struct choice *of;
	size_t n;
	int there[CWE_COMPARED]; /* the models that gave any */
};

static int has_choices(const struct cwe_metric_record *m)
{
	int found = 0;
	for (size_t k = 0; m->group == NULL && !found && k < m->items[CWE_COMPARED_ORIGINAL]; k++) {
		found = m->item[CWE_COMPARED_ORIGINAL][k].choice >= 0;
	}
	return found;
}

static int by_item(const void *a, const void *b)
{
	const struct choice *x = *(const struct choice *const *)a, *y = *(const struct choice *const *)b;
	int order = strcmp(x->pair.of[CWE_COMPARED_ORIGINAL]->id, y->pair.of[CWE_COMPARED_ORIGINAL]->id);
	return order != 0 ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* The items of a metric behind those that are there. */
static int add_choices(struct choices *c, const struct cwe_outcomes *o, size_t metric)
{
	const struct cwe_metric_record *m = &o->metric[metric];
	struct cwe_pair *pair = NULL;
	size_t n = 0;
	int r = cwe_pairs_match((const struct cwe_outcome *const *)m->item, m->items, &pair, &n);
	struct choice *more = r == 0 ? realloc(c->of, (c->n + n + 1) * sizeof *more) : NULL;
	if (more == NULL) {
		free(pair);
		return -ENOMEM;
	}
	c->of = more;
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		c->there[k] |= m->items[k] > 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (pair[i].of[CWE_COMPARED_ORIGINAL]->choice >= 0) {
			c->of[c->n] = (struct choice){pair[i], metric, c->n};
			c->n++;
		}
	}
	free(pair);
	return 0;
}

/* Of equal ids the first stays. */
static int leave_repeated_out(struct choices *c)
{
	struct choice **sorted = malloc((c->n + 1) * sizeof(struct choice *));
	size_t kept = 0;
	if (sorted == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->n; i++) {
		sorted[i] = &c->of[i];
	}
	qsort(sorted, c->n, sizeof *sorted, by_item);
	for (size_t i = 0, first = 0; i < c->n; i++) {
		const char *id = sorted[i]->pair.of[CWE_COMPARED_ORIGINAL]->id;
		first = strcmp(id, sorted[first]->pair.of[CWE_COMPARED_ORIGINAL]->id) == 0 ? first : i;
		sorted[i]->at = first == i; /* whether it stays */
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->of[i].at) {
			c->of[kept++] = c->of[i];
		}
	}
	c->n = kept;
	free(sorted);
	return 0;
}

/* Each item that has a choice, once: under the first metric of all items that tells it. Evaluations whose metrics are of
 * different items, as refusals of harmful and of harmless prompts, have several such metrics. */
static int list_choices(const struct cwe_outcomes *o, struct choices *ret)
{
	struct choices c = {0};
	size_t metrics = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < o->metrics; i++) {
		if (has_choices(&o->metric[i])) {
			r = add_choices(&c, o, i);
			metrics++;
		}
	}
	r = r == 0 && metrics > 1 ? leave_repeated_out(&c) : r;
	if (r != 0) {
		free(c.of);
		return r;
	}
	*ret = c;
	return 0;
}

static int give_flips(struct cwe_outcomes *o, const struct choices *c, enum cwe_compared which)
{
	struct cwp_metric_sink sink = cwe_outcomes_sink(o);
	struct cwp_metric m = {.size = sizeof m, .name = CWE_FLIPS, .direction = CWP_LOWER_IS_BETTER, .ideal = 0, .form = CWP_FORM_MEAN,
		.low = NAN, .high = NAN, .standard_error = NAN};
	double flips = 0;
	if (!c->there[which]) {
		return 0;
	}
	for (size_t i = 0; i < c->n; i++) {
		const struct cwe_outcome *b = c->of[i].pair.of[which];
		m.n += b != NULL && b->choice >= 0;
		flips += cwe_pair_flipped(&c->of[i].pair, CWE_COMPARED_ORIGINAL, which);
	}
	m.value = m.n > 0 ? flips / (double)m.n : NAN;
	cwe_outcomes_begin(o, which);
	sink.metric(o, &m);
	for (size_t i = 0; i < c->n; i++) {
		const struct cwe_outcome *a = c->of[i].pair.of[CWE_COMPARED_ORIGINAL], *b = c->of[i].pair.of[which];
		if (a == NULL || b == NULL || b->choice < 0) {
			continue;
		}
		struct cwp_item item = {.size = sizeof item, .id = a->id, .group = a->group, .weight = 1, .choice = -1,
			.value = cwe_pair_flipped(&c->of[i].pair, CWE_COMPARED_ORIGINAL, which)};
		sink.item(o, &item);
	}
	return o->failed;
}

int cwe_outcomes_add_flips(struct cwe_outcomes *o)
{
	struct choices c = {0};
	int r = cwe_outcomes_find(o, CWE_FLIPS, NULL) == NULL ? list_choices(o, &c) : 0;
	for (int k = 0; r == 0 && k < CWE_COMPARED; k++) {
		r = give_flips(o, &c, (enum cwe_compared)k);
	}
	free(c.of);
	return r;
}

/* The first bytes of a text, whole characters of it. */
static json_t *text_json(const char *text, size_t most)
{
	if (text == NULL) {
		return json_null();
	}
	size_t n = strlen(text);
	return json_stringn(text, cwe_utf8_check(text, n < most ? n : most));
}

static json_t *model_json(const struct cwe_pair *pair, const struct cwe_item_texts *t, size_t k, size_t most)
{
	const struct cwe_outcome *item = pair->of[k];
	if (item == NULL) {
		return json_null();
	}
	return json_pack("{s:o,s:o,s:o}", "choice", item->choice >= 0 ? json_integer((json_int_t)item->choice) : json_null(), "value",
		cwb_json_finite(item->value), "answer", text_json(t != NULL ? t->answer[k] : NULL, most));
}

static int append(const struct cwe_benchmark *b, const struct cwe_metric_record *m, const struct cwe_pair *pair, size_t most, json_t *array)
{
	const struct cwe_outcome *item = pair->of[CWE_COMPARED_ORIGINAL];
	const struct cwe_item_texts *t = cwe_outcomes_texts(&b->outcomes, item->id);
	return json_array_append_new(array, json_pack("{s:s,s:s,s:s,s:s?,s:b,s:o,s:o,s:o,s:o}", "name", b->job->name, "metric", m->name, "id",
		item->id, "group", item->group, "harmful", t != NULL && (t->flags & CWP_ITEM_HARMFUL) != 0, "prompt",
		text_json(t != NULL ? t->prompt : NULL, most), "original", model_json(pair, t, CWE_COMPARED_ORIGINAL, most), "quantized",
		model_json(pair, t, CWE_COMPARED_QUANTIZED, most), "protected", model_json(pair, t, CWE_COMPARED_PROTECTED, most))) == 0
		? 0 : -ENOMEM;
}

int cwe_flipped_report(const struct cwe_benchmark *b, struct cwe_run *run)
{
	struct choices c = {0};
	size_t shown = 0;
	uint64_t share = TEXTS / (4 * FLIPPED * (run->job->n_evaluations + 1));
	size_t most = share > CWE_ITEM_TEXT_LIMIT ? CWE_ITEM_TEXT_LIMIT : share < TEXT_LEAST ? TEXT_LEAST : (size_t)share;
	int r = list_choices(&b->outcomes, &c);
	/* First those of the output. */
	for (int others = 0; others < 2; others++) {
		for (size_t i = 0; r == 0 && i < c.n && shown < FLIPPED; i++) {
			const struct cwe_pair *pair = &c.of[i].pair;
			int of_output = cwe_pair_flipped(pair, CWE_COMPARED_ORIGINAL, CWE_COMPARED_PROTECTED);
			int wanted = others ? !of_output && cwe_pair_flipped(pair, CWE_COMPARED_ORIGINAL, CWE_COMPARED_QUANTIZED) : of_output;
			r = wanted ? append(b, &b->outcomes.metric[c.of[i].metric], pair, most, run->flipped) : 0;
			shown += (size_t)wanted;
		}
	}
	free(c.of);
	return r;
}
