/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What an evaluator gives, kept for a look: metrics by name, and their items by id. */
#pragma once

#include "tests/plugins/common.h"

#include <math.h>

#include <cwp/evaluator.h>

struct kept_item {
	char id[112], group[64], prompt[400], answer[400];
	double value, weight;
	int64_t choice;
	uint32_t flags;
};

struct kept_metric {
	struct cwp_metric m;
	char name[64], group[64];
	struct kept_item *item;
	size_t items;
	double sum, weights; /* of value times weight, of weights */
};

struct kept {
	struct kept_metric metric[64];
	size_t metrics;
};

static inline void keep_metric(void *ctx, const struct cwp_metric *m)
{
	struct kept *k = ctx;
	assert_true(k->metrics < sizeof k->metric / sizeof *k->metric);
	struct kept_metric *x = &k->metric[k->metrics++];
	*x = (struct kept_metric){.m = *m};
	snprintf(x->name, sizeof x->name, "%s", m->name);
	snprintf(x->group, sizeof x->group, "%s", m->group != NULL ? m->group : "");
}

static inline void keep_item(void *ctx, const struct cwp_item *i)
{
	struct kept *k = ctx;
	assert_true(k->metrics > 0);
	struct kept_metric *m = &k->metric[k->metrics - 1];
	struct kept_item *more = realloc(m->item, (m->items + 1) * sizeof *more);
	assert_non_null(more);
	m->item = more;
	more[m->items] = (struct kept_item){.value = i->value, .weight = i->weight, .choice = i->choice, .flags = i->flags};
	snprintf(more[m->items].id, sizeof more->id, "%s", i->id);
	snprintf(more[m->items].group, sizeof more->group, "%s", i->group != NULL ? i->group : "");
	snprintf(more[m->items].prompt, sizeof more->prompt, "%.*s", (int)(i->prompt_length < 399 ? i->prompt_length : 399),
		i->prompt != NULL ? i->prompt : "");
	snprintf(more[m->items].answer, sizeof more->answer, "%.*s", (int)(i->answer_length < 399 ? i->answer_length : 399),
		i->answer != NULL ? i->answer : "");
	m->items++;
	m->sum += i->value * i->weight;
	m->weights += i->weight;
}

static inline void forget(struct kept *k)
{
	for (size_t i = 0; i < k->metrics; i++) {
		free(k->metric[i].item);
	}
	*k = (struct kept){0};
}

/* What finish() gives anew; means follow from their items. */
static inline void finish_into(const struct cwp_evaluator *e, void *state, struct kept *k)
{
	struct cwp_metric_sink sink = {.size = sizeof sink, .ctx = k, .metric = keep_metric, .item = keep_item};
	forget(k);
	assert_int_equal(e->finish(state, &sink), 0);
	for (size_t i = 0; i < k->metrics; i++) {
		const struct kept_metric *m = &k->metric[i];
		if (m->m.form == CWP_FORM_MEAN && m->weights > 0) {
			assert_true(fabs(m->m.value - m->sum / m->weights) < 1e-9);
		}
	}
}

static inline const struct kept_metric *group_metric_of(const struct kept *k, const char *name, const char *group)
{
	for (size_t i = 0; i < k->metrics; i++) {
		if (strcmp(k->metric[i].name, name) == 0 && strcmp(k->metric[i].group, group) == 0) {
			return &k->metric[i];
		}
	}
	fail_msg("there is no metric %s of the group \"%s\"", name, group);
	return NULL;
}

/* Of all items. */
static inline const struct kept_metric *metric_of(const struct kept *k, const char *name)
{
	return group_metric_of(k, name, "");
}

static inline const struct kept_item *item_of(const struct kept_metric *m, const char *id)
{
	for (size_t i = 0; i < m->items; i++) {
		if (strcmp(m->item[i].id, id) == 0) {
			return &m->item[i];
		}
	}
	fail_msg("%s has no item %s", m->name, id);
	return NULL;
}

static inline struct cwp_request request_of(const struct cwp_evaluator *e, void *state, uint64_t i)
{
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(e->request(state, i, &q), 0);
	return q;
}

static inline void answer_text(const struct cwp_evaluator *e, void *state, uint64_t i, const char *text, uint32_t flags)
{
	const struct cwp_answer a = {.size = sizeof a, .text = text, .text_length = strlen(text), .tokens = 1, .flags = flags};
	assert_int_equal(e->answer(state, i, &a), 0);
}
