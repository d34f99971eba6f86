/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Prompts of safety sets. */
#define _GNU_SOURCE 1 /* qsort_r */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/rows.h"
#include "plugins/evaluators/common/safe_file.h"
#include "plugins/evaluators/common/safe_set.h"

#define BETWEEN "\n\n---\n\n" /* what HarmBench's prompts have behind a context */

static const char *const multijail[] = {"en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv"};
enum { LANGUAGES = sizeof multijail / sizeof *multijail };

/* The columns of published sets. */
static const struct columns {
	const char *set, *column, *context, *id, *group, *label, *target;
} published[] = {
	{"advbench", "goal", "", "", "", "", "target"},
	{"harmbench", "Behavior", "ContextString", "BehaviorID", "SemanticCategory", "", ""},
	{"strongreject", "forbidden_prompt", "", "", "category", "", ""},
	{"multijail", "en", "", "id", "", "", ""},
	{"xsafety", "#1", "", "", "", "", ""},
	{"xstest", "prompt", "", "id", "type", "label", ""},
};

/* One file at work. */
struct reader {
	struct safe_set *s;
	const struct safe_want *want;
	struct columns columns;
	const char *path;
	size_t languages; /* prompts of each record */
};

static const char *either(const char *option, const char *standard)
{
	return option != NULL && *option != '\0' ? option : standard;
}

static int find_columns(struct reader *r)
{
	static const struct columns none = {"", "", "", "", "", "", ""};
	const struct safe_want *w = r->want;
	r->columns = none;
	for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
		if (strcmp(published[i].set, w->set) == 0) {
			r->columns = published[i];
		}
	}
	int by_language = strcmp(w->set, "multijail") == 0 && *either(w->column, "") == '\0';
	r->languages = by_language && strcmp(w->language, "all") == 0 ? LANGUAGES : 1;
	if (r->languages == 1 && strcmp(w->language, "all") == 0) {
		return safe_fail(r->s->host, CWP_EVALUE, "language: \"all\" is for MultiJail, which has a column for each; name the one of %.200s",
			r->path);
	}
	r->columns.column = either(w->column, by_language && r->languages == 1 ? w->language : r->columns.column);
	r->columns.id = either(w->id, r->columns.id);
	r->columns.group = either(w->group, r->columns.group);
	r->columns.label = either(w->label, r->columns.label);
	r->columns.target = either(w->target, r->columns.target);
	if (*r->columns.column == '\0') {
		return safe_fail(r->s->host, CWP_EMISSING, "column: which one of %.200s holds the prompts? Name it, or say in set which set it is",
			r->path);
	}
	r->s->harmless = w->unlabelled || w->harmless || *r->columns.label != '\0';
	r->s->harmful = !w->unlabelled && (!w->harmless || *r->columns.label != '\0');
	return 0;
}

/* A column's text that may be missing; "" then. */
static const char *text_of(const struct reader *r, uint64_t record, const char *column)
{
	const char *text = NULL;
	size_t length = 0;
	const struct cwp_host *host = r->s->host;
	if (*column == '\0' || host->records_text(host->ctx, r->s->records, record, column, &text, &length) <= 0) {
		return "";
	}
	return text;
}

static int part_of(const struct reader *r, uint64_t record)
{
	if (*r->columns.label == '\0') {
		return r->want->harmless || r->want->unlabelled;
	}
	return strcmp(text_of(r, record, r->columns.label), "safe") == 0;
}

/* ---- the choice ---- */

/* What makes a stratum. */
struct stratum {
	const char *group;
	size_t language, index;
	int harmless;
};

static int by_stratum(const void *a, const void *b)
{
	const struct stratum *x = a, *y = b;
	int order = x->harmless - y->harmless;
	order = order != 0 ? order : (x->language > y->language) - (x->language < y->language);
	return order != 0 ? order : strcmp(x->group, y->group);
}

/* Numbers the strata of all n prompts. */
static int number_strata(const struct reader *r, size_t n, size_t *ret)
{
	struct stratum *s = calloc(n + 1, sizeof *s);
	if (s == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t record = i / r->languages;
		s[i] = (struct stratum){text_of(r, record, r->columns.group), i % r->languages, i, part_of(r, record)};
	}
	qsort(s, n, sizeof *s, by_stratum);
	size_t number = 0;
	for (size_t i = 0; i < n; i++) {
		number += i > 0 && by_stratum(&s[i - 1], &s[i]) != 0;
		ret[s[i].index] = number;
	}
	free(s);
	return 0;
}

static int choose(const struct reader *r, uint64_t limit, size_t **ret_index, size_t *ret_count)
{
	const struct cwp_host *host = r->s->host;
	const struct rows rows = {.host = host, .records = r->s->records, .path = (char *)(uintptr_t)r->path,
		.count = (size_t)host->records_count(host->ctx, r->s->records)};
	size_t n = rows.count * r->languages, *stratum = calloc(n + 1, sizeof *stratum);
	int rc = stratum != NULL ? number_strata(r, n, stratum) : -ENOMEM;
	rc = rc == 0 ? rows_choose(&rows, r->languages, NULL, stratum, limit, "prompt", ret_index, ret_count) : rc;
	free(stratum);
	return rc;
}

/* ---- prompts ---- */

/* The words of a group, without what divides names elsewhere; cut at a character. */
static void copy_group(const char *text, char ret[64])
{
	size_t n = strlen(text);
	if (n > 63) {
		for (n = 63; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80; n--) {
		}
	}
	for (size_t i = 0; i < n; i++) {
		ret[i] = (char)(text[i] == '/' || (unsigned char)text[i] < ' ' || text[i] == 0x7F ? ' ' : text[i]);
	}
	ret[n] = '\0';
}

static int join_context(const struct reader *r, uint64_t record, struct safe_prompt *p)
{
	const char *context = text_of(r, record, r->columns.context);
	size_t length = strlen(context), between = sizeof BETWEEN - 1;
	if (context[strspn(context, " \t\r\n")] == '\0') {
		return 0;
	}
	p->joined = malloc(length + between + p->length + 1);
	if (p->joined == NULL) {
		return -ENOMEM;
	}
	memcpy(p->joined, context, length);
	memcpy(p->joined + length, BETWEEN, between);
	memcpy(p->joined + length + between, p->text, p->length + 1);
	p->text = p->joined;
	p->length += length + between;
	return 0;
}

static int check_label(const struct reader *r, uint64_t record)
{
	const struct cwp_host *host = r->s->host;
	const char *text;
	size_t length;
	int rc = 0;
	if (*r->columns.label == '\0' || (rc = host->records_need(host->ctx, r->s->records, record, r->columns.label, &text, &length)) != 0) {
		return rc;
	}
	return strcmp(text, "safe") == 0 || strcmp(text, "unsafe") == 0 ? 0 : safe_fail(host, CWP_EVALUE,
		"%.200s:%llu: %.60s: \"%.60s\" is neither safe nor unsafe", r->path,
		(unsigned long long)host->records_line(host->ctx, r->s->records, record), r->columns.label, text);
}

static int read_prompt(const struct reader *r, size_t index, struct safe_prompt *p)
{
	const struct cwp_host *host = r->s->host;
	uint64_t record = index / r->languages;
	const char *column = r->languages > 1 ? multijail[index % r->languages] : r->columns.column;
	p->language = r->languages > 1 ? column : r->want->language;
	int rc = host->records_need(host->ctx, r->s->records, record, column, &p->text, &p->length);
	rc = rc == 0 ? check_label(r, record) : rc;
	if (rc == 0 && *r->columns.target != '\0') {
		rc = host->records_need(host->ctx, r->s->records, record, r->columns.target, &p->target, &p->target_length);
	}
	rc = rc == 0 && *r->columns.context != '\0' ? join_context(r, record, p) : rc;
	if (rc != 0) {
		return rc;
	}
	const char *id = text_of(r, record, r->columns.id);
	p->harmless = part_of(r, record);
	copy_group(r->languages > 1 ? column : text_of(r, record, r->columns.group), p->group);
	if (*id == '\0') {
		(void)snprintf(p->id, sizeof p->id, "%llu", (unsigned long long)record + 1);
	} else {
		(void)snprintf(p->id, sizeof p->id, "%.90s", id);
	}
	if (r->languages > 1) {
		size_t used = strlen(p->id);
		(void)snprintf(p->id + used, sizeof p->id - used, "-%s", column);
	}
	return 0;
}

/* ---- the whole ---- */

static int by_id(const void *a, const void *b)
{
	return strcmp((*(const struct safe_prompt *const *)a)->id, (*(const struct safe_prompt *const *)b)->id);
}

/* Models are compared item by item, so that an id names one alone. */
static int check_ids(const struct reader *r)
{
	size_t n = r->s->count;
	const struct safe_prompt **p = calloc(n + 1, sizeof *p);
	int rc = p != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		p[i] = &r->s->prompt[i];
	}
	if (rc == 0) {
		qsort(p, n, sizeof *p, by_id);
	}
	for (size_t i = 1; rc == 0 && i < n; i++) {
		rc = by_id(&p[i - 1], &p[i]) != 0 ? 0 : safe_fail(r->s->host, CWP_EVALUE,
			"%.200s: %.60s: \"%.90s\" names two items; choose a column in which each has its own, or none", r->path, r->columns.id, p[i]->id);
	}
	free(p);
	return rc;
}

void safe_set_close(struct safe_set *s)
{
	for (size_t i = 0; i < s->count; i++) {
		free(s->prompt[i].joined);
	}
	free(s->prompt);
	if (s->host != NULL) {
		s->host->records_close(s->host->ctx, s->records);
	}
	*s = (struct safe_set){0};
}

int safe_set_open(const struct cwp_host *host, const struct safe_want *want, const char *path, uint64_t limit,
	struct safe_set *ret)
{
	const struct cwp_record_source source = {.size = sizeof source, .data = strcmp(want->set, "own") == 0 ? NULL : want->set};
	struct reader r = {.s = ret, .want = want, .path = path};
	size_t *index = NULL, count = 0;
	*ret = (struct safe_set){.host = host};
	int rc = find_columns(&r);
	rc = rc == 0 ? host->records_open(host->ctx, path, &source, &ret->records) : rc;
	rc = rc == 0 ? choose(&r, limit, &index, &count) : rc;
	if (rc == 0 && (ret->prompt = calloc(count, sizeof *ret->prompt)) == NULL) {
		rc = -ENOMEM;
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = read_prompt(&r, index[i], &ret->prompt[ret->count++]);
	}
	free(index);
	return rc == 0 ? check_ids(&r) : rc;
}
