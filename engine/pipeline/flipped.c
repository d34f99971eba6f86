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

const struct cwe_metric_record *cwe_outcomes_primary(const struct cwe_outcomes *o)
{
	for (size_t i = 0; i < o->metrics; i++) {
		const struct cwe_metric_record *m = &o->metric[i];
		for (size_t k = 0; m->group == NULL && k < m->items[CWE_COMPARED_ORIGINAL]; k++) {
			if (m->item[CWE_COMPARED_ORIGINAL][k].choice >= 0) {
				return m;
			}
		}
	}
	return NULL;
}

static int give_flips(struct cwe_outcomes *o, size_t primary, const struct cwe_pair *pair, size_t n, enum cwe_compared which)
{
	struct cwp_metric_sink sink = cwe_outcomes_sink(o);
	struct cwp_metric m = {.size = sizeof m, .name = CWE_FLIPS, .direction = CWP_LOWER_IS_BETTER, .ideal = 0, .form = CWP_FORM_MEAN,
		.low = NAN, .high = NAN, .standard_error = NAN};
	double flips = 0;
	if (o->metric[primary].items[which] == 0) {
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const struct cwe_outcome *a = pair[i].of[CWE_COMPARED_ORIGINAL], *b = pair[i].of[which];
		m.n += a->choice >= 0 && b->choice >= 0;
		flips += cwe_pair_flipped(&pair[i], CWE_COMPARED_ORIGINAL, which);
	}
	m.value = m.n > 0 ? flips / (double)m.n : NAN;
	cwe_outcomes_begin(o, which);
	sink.metric(o, &m);
	for (size_t i = 0; i < n; i++) {
		const struct cwe_outcome *a = pair[i].of[CWE_COMPARED_ORIGINAL], *b = pair[i].of[which];
		struct cwp_item item = {.size = sizeof item, .id = a->id, .group = a->group, .weight = 1, .choice = -1,
			.value = cwe_pair_flipped(&pair[i], CWE_COMPARED_ORIGINAL, which)};
		if (a->choice >= 0 && b->choice >= 0) {
			sink.item(o, &item);
		}
	}
	return o->failed;
}

int cwe_outcomes_add_flips(struct cwe_outcomes *o)
{
	const struct cwe_metric_record *m = cwe_outcomes_primary(o);
	struct cwe_pair *pair = NULL;
	size_t n = 0;
	if (m == NULL || cwe_outcomes_find(o, CWE_FLIPS, NULL) != NULL) {
		return 0;
	}
	size_t primary = (size_t)(m - o->metric); /* the list grows */
	int r = cwe_pairs_match((const struct cwe_outcome *const *)m->item, m->items, &pair, &n);
	for (int k = 0; r == 0 && k < CWE_COMPARED; k++) {
		r = give_flips(o, primary, pair, n, (enum cwe_compared)k);
	}
	free(pair);
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
	const struct cwe_metric_record *m = cwe_outcomes_primary(&b->outcomes);
	struct cwe_pair *pair = NULL;
	size_t n = 0, shown = 0;
	uint64_t share = TEXTS / (4 * FLIPPED * (run->job->n_evaluations + 1));
	size_t most = share > CWE_ITEM_TEXT_LIMIT ? CWE_ITEM_TEXT_LIMIT : share < TEXT_LEAST ? TEXT_LEAST : (size_t)share;
	if (m == NULL) {
		return 0;
	}
	int r = cwe_pairs_match((const struct cwe_outcome *const *)m->item, m->items, &pair, &n);
	/* First those of the output. */
	for (int others = 0; others < 2; others++) {
		for (size_t i = 0; r == 0 && i < n && shown < FLIPPED; i++) {
			int of_output = cwe_pair_flipped(&pair[i], CWE_COMPARED_ORIGINAL, CWE_COMPARED_PROTECTED);
			int wanted = others ? !of_output && cwe_pair_flipped(&pair[i], CWE_COMPARED_ORIGINAL, CWE_COMPARED_QUANTIZED) : of_output;
			r = wanted ? append(b, m, &pair[i], most, run->flipped) : 0;
			shown += (size_t)wanted;
		}
	}
	free(pair);
	return r;
}
