/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Metrics and outcomes of items, as evaluators give them. */
#include <errno.h>
#include <math.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/outcomes.h"
#include "engine/text/utf8.h"

/* Texts by their ids, in a tree of tsearch(3). */
struct cwe_text_index {
	void *tree;
};

struct named {
	const char *id;
	size_t at; /* in the list of texts */
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->id, ((const struct named *)b)->id);
}

/* A metric's name becomes a field of reports and a word in gates. */
static int is_name(const char *name)
{
	return name != NULL && *name != '\0' &&
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(name) && strlen(name) < 64;
}

/* Groups are words of the data: all but control characters, and none of those that divide names. */
static int is_group(const char *group)
{
	size_t n = group != NULL ? strlen(group) : 0;
	if (group == NULL) {
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)group[i] < ' ' || group[i] == 0x7F || group[i] == '/') {
			return 0;
		}
	}
	return n > 0 && n < 64 && cwe_utf8_check(group, n) == n;
}

static int same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text != NULL ? strdup(text) : NULL;
	return text != NULL && *ret == NULL ? -ENOMEM : 0;
}

const struct cwe_metric_record *cwe_outcomes_find(const struct cwe_outcomes *o, const char *name, const char *group)
{
	for (size_t i = 0; i < o->metrics; i++) {
		if (strcmp(o->metric[i].name, name) == 0 && same_text(o->metric[i].group, group)) {
			return &o->metric[i];
		}
	}
	return NULL;
}

static struct cwe_metric_record *find_metric(struct cwe_outcomes *o, const struct cwp_metric *metric)
{
	const struct cwe_metric_record *found = cwe_outcomes_find(o, metric->name, metric->group);
	if (found != NULL) {
		return &o->metric[found - o->metric];
	}
	struct cwe_metric_record *more = realloc(o->metric, (o->metrics + 1) * sizeof *more);
	char *name = strdup(metric->name), *group = NULL;
	if (more != NULL) {
		o->metric = more;
	}
	if (more == NULL || name == NULL || copy_text(metric->group, &group) != 0) {
		free(name);
		o->failed = -ENOMEM;
		return NULL;
	}
	o->metric[o->metrics] = (struct cwe_metric_record){.name = name, .group = group, .direction = metric->direction, .form = metric->form,
		.ideal = metric->ideal};
	return &o->metric[o->metrics++];
}

static void take_metric(void *ctx, const struct cwp_metric *metric)
{
	struct cwe_outcomes *o = ctx;
	if (o->failed != 0) {
		return;
	}
	if (metric == NULL || metric->size < sizeof *metric || !is_name(metric->name) || !is_group(metric->group) || metric->n > INT64_MAX ||
		metric->direction < CWP_LOWER_IS_BETTER || metric->direction > CWP_HIGHER_IS_BETTER || metric->form > CWP_FORM_EXP_MEAN) {
		o->failed = CWP_EPLUGIN;
		return;
	}
	struct cwe_metric_record *m = find_metric(o, metric);
	if (m == NULL) {
		return;
	}
	if (m->filled[o->current]) {
		o->failed = CWP_EPLUGIN; /* twice the same name */
		return;
	}
	o->last = (size_t)(m - o->metric);
	m->filled[o->current] = 1;
	m->n[o->current] = metric->n;
	m->value[o->current] = metric->value;
	m->low[o->current] = metric->low;
	m->high[o->current] = metric->high;
	m->error[o->current] = metric->standard_error;
}

static int add_item(struct cwe_metric_record *m, enum cwe_compared which, const struct cwe_outcome *item)
{
	size_t n = m->items[which];
	struct cwe_outcome copy = *item;
	/* Doubles at powers of two. */
	struct cwe_outcome *more = (n & (n - 1)) == 0 ? realloc(m->item[which], (n > 0 ? 2 * n : 1) * sizeof *more) : m->item[which];
	m->item[which] = more != NULL ? more : m->item[which];
	copy.id = strdup(item->id);
	if (copy_text(item->group, &copy.group) != 0 || copy.id == NULL || more == NULL) {
		free(copy.id);
		free(copy.group);
		return -ENOMEM;
	}
	more[n] = copy;
	m->items[which]++;
	return 0;
}

/* The first bytes of a text, whole characters of it; "" for one that is not UTF-8 from the start. */
static char *first_part(const char *text, size_t length)
{
	size_t n = length < CWE_ITEM_TEXT_LIMIT ? length : CWE_ITEM_TEXT_LIMIT;
	const char *nul = memchr(text, '\0', n);
	n = nul != NULL ? (size_t)(nul - text) : n;
	n = cwe_utf8_check(text, n);
	char *copy = malloc(n + 1);
	if (copy != NULL) {
		memcpy(copy, text, n);
		copy[n] = '\0';
	}
	return copy;
}

const struct cwe_item_texts *cwe_outcomes_texts(const struct cwe_outcomes *o, const char *id)
{
	struct named key = {.id = id};
	void *found = o->index != NULL ? tfind(&key, &o->index->tree, by_id) : NULL;
	return found != NULL ? &o->text[(*(struct named **)found)->at] : NULL;
}

/* The texts of this item, begun where it is new. */
static struct cwe_item_texts *find_texts(struct cwe_outcomes *o, const char *id)
{
	const struct cwe_item_texts *known = cwe_outcomes_texts(o, id);
	if (known != NULL) {
		return &o->text[known - o->text];
	}
	if (o->index == NULL && (o->index = calloc(1, sizeof *o->index)) == NULL) {
		return NULL;
	}
	size_t n = o->texts;
	struct cwe_item_texts *more = (n & (n - 1)) == 0 ? realloc(o->text, (n > 0 ? 2 * n : 1) * sizeof *more) : o->text;
	struct named *name = malloc(sizeof *name);
	char *copy = strdup(id);
	o->text = more != NULL ? more : o->text;
	if (more == NULL || name == NULL || copy == NULL) {
		free(name);
		free(copy);
		return NULL;
	}
	*name = (struct named){copy, n};
	if (tsearch(name, &o->index->tree, by_id) == NULL) {
		free(name);
		free(copy);
		return NULL;
	}
	more[n] = (struct cwe_item_texts){.id = copy};
	return &more[o->texts++];
}

static int add_texts(struct cwe_outcomes *o, const struct cwp_item *item)
{
	struct cwe_item_texts *t = item->prompt != NULL || item->answer != NULL ? find_texts(o, item->id) : NULL;
	if (item->prompt == NULL && item->answer == NULL) {
		return 0;
	}
	if (t == NULL) {
		return -ENOMEM;
	}
	t->flags |= item->flags;
	if (item->prompt != NULL && t->prompt == NULL && (t->prompt = first_part(item->prompt, item->prompt_length)) == NULL) {
		return -ENOMEM;
	}
	if (item->answer != NULL && t->answer[o->current] == NULL &&
		(t->answer[o->current] = first_part(item->answer, item->answer_length)) == NULL) {
		return -ENOMEM;
	}
	return 0;
}

static void take_item(void *ctx, const struct cwp_item *item)
{
	struct cwe_outcomes *o = ctx;
	if (o->failed != 0) {
		return;
	}
	if (o->last == o->metrics || item == NULL || item->size < sizeof *item || item->id == NULL || !is_group(item->group) ||
		!(item->weight >= 0)) {
		o->failed = CWP_EPLUGIN; /* an item before any metric, or what is none */
		return;
	}
	struct cwe_outcome outcome = {(char *)(uintptr_t)item->id, (char *)(uintptr_t)item->group, item->value, item->weight,
		item->choice};
	int r = add_item(&o->metric[o->last], o->current, &outcome);
	o->failed = r == 0 ? add_texts(o, item) : r;
}

void cwe_outcomes_begin(struct cwe_outcomes *o, enum cwe_compared which)
{
	o->current = which;
	o->last = o->metrics;
}

struct cwp_metric_sink cwe_outcomes_sink(struct cwe_outcomes *o)
{
	return (struct cwp_metric_sink){.size = sizeof(struct cwp_metric_sink), .ctx = o, .metric = take_metric, .item = take_item};
}

int cwe_outcomes_same(struct cwe_outcomes *o, enum cwe_compared from, enum cwe_compared to)
{
	int r = 0;
	for (size_t i = 0; i < o->metrics; i++) {
		struct cwe_metric_record *m = &o->metric[i];
		m->filled[to] = m->filled[from];
		m->n[to] = m->n[from];
		m->value[to] = m->value[from];
		m->low[to] = m->low[from];
		m->high[to] = m->high[from];
		m->error[to] = m->error[from];
		for (size_t k = 0; r == 0 && k < m->items[from]; k++) {
			r = add_item(m, to, &m->item[from][k]);
		}
	}
	for (size_t i = 0; r == 0 && i < o->texts; i++) {
		r = copy_text(o->text[i].answer[from], &o->text[i].answer[to]);
	}
	return r;
}

static void free_metric(struct cwe_metric_record *m)
{
	for (int k = 0; k < CWE_COMPARED; k++) {
		for (size_t j = 0; j < m->items[k]; j++) {
			free(m->item[k][j].id);
			free(m->item[k][j].group);
		}
		free(m->item[k]);
	}
	free(m->name);
	free(m->group);
}

void cwe_outcomes_free(struct cwe_outcomes *o)
{
	/* The tree first: it compares ids. */
	while (o->index != NULL && o->index->tree != NULL) {
		struct named *name = *(struct named **)o->index->tree;
		(void)tdelete(name, &o->index->tree, by_id);
		free(name);
	}
	for (size_t i = 0; i < o->metrics; i++) {
		free_metric(&o->metric[i]);
	}
	for (size_t i = 0; i < o->texts; i++) {
		free(o->text[i].id);
		free(o->text[i].prompt);
		for (int k = 0; k < CWE_COMPARED; k++) {
			free(o->text[i].answer[k]);
		}
	}
	free(o->index);
	free(o->text);
	free(o->metric);
	memset(o, 0, sizeof *o);
}
