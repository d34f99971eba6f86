/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The guard of super weights: found on a few of the job's samples, kept on scratch, protected on top of the budget. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/calibrate/super.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/super.h"

/* Samples of a set until they hold this many tokens: one sequence is enough to see them, as it is its first tokens that
 * excite them. */
#define TOKENS 256
#define FILE_NAME "super-weights.json"
#define FILE_LIMIT (16u << 20)

static uint64_t sample_tokens(const struct cwe_sample *s)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		n += s->sequence[i].count;
	}
	return n;
}

/* How many of a set's samples are looked at, and their tokens. */
static size_t looked_at(const struct cwe_sample_set *set, uint64_t *ret_tokens)
{
	size_t n = 0;
	*ret_tokens = 0;
	while (n < set->count && *ret_tokens < TOKENS) {
		*ret_tokens += sample_tokens(&set->sample[n++]);
	}
	return n;
}

void cwe_run_super_need(const struct cwe_run *run, struct cwe_need *ret)
{
	struct cwe_calibration_bounds b;
	uint64_t tokens = 0, n;
	if (run->scorer == NULL || !run->job->super_weights) {
		return;
	}
	for (size_t i = 0; i < run->sets; i++) {
		(void)looked_at(&run->set[i], &n);
		tokens += n;
	}
	cwe_calibration_bounds(&run->model, tokens, tokens, run->corpus.longest, CWE_SUPER_NEEDS, &b);
	/* Judging a matrix takes a few numbers a row and column. */
	ret->host = b.host + 16 * (run->tallest + run->widest);
	ret->device = b.device;
	ret->boundaries = b.boundaries;
	cwe_need_passes(ret, &run->model, tokens);
}

/* Samples of all sets as one. They stay the sets'. */
static int make_corpus(const struct cwe_run *run, struct cwe_corpus *ret, struct cwb_err *err)
{
	struct cwe_sample_set all = {.name = (char *)(uintptr_t)"super weights"};
	uint64_t tokens;
	size_t room = 0;
	for (size_t i = 0; i < run->sets; i++) {
		room += looked_at(&run->set[i], &tokens);
	}
	all.sample = calloc(room + 1, sizeof *all.sample);
	if (all.sample == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the samples that show super weights");
	}
	for (size_t i = 0; i < run->sets; i++) {
		size_t n = looked_at(&run->set[i], &tokens);
		if (n > 0) {
			memcpy(all.sample + all.count, run->set[i].sample, n * sizeof *all.sample);
		}
		all.count += n;
		all.tokens += tokens;
	}
	int r = cwe_corpus_new(&all, 1, 0, ret, err);
	free(all.sample);
	return r;
}

/* The weight itself, as the model has it. */
static int read_value(const struct cwe_run *run, struct cwe_super_weight *w, float *row, struct cwb_err *err)
{
	int r = cwe_run_module_read(run, &run->module[w->module], w->row, 1, row, err);
	w->value = r == 0 ? row[w->col] : 0;
	return r;
}

static int by_place(const void *a, const void *b)
{
	const struct cwe_super_weight *x = a, *y = b;
	if (x->module != y->module) {
		return x->module < y->module ? -1 : 1;
	}
	if (x->row != y->row) {
		return x->row < y->row ? -1 : 1;
	}
	return x->col < y->col ? -1 : x->col > y->col;
}

int cwe_run_super_add(struct cwe_run *run, size_t module, uint64_t row, uint64_t col, struct cwb_err *err)
{
	struct cwe_super_weight w = {.module = module, .row = row, .col = col};
	if (!run->module[module].quantized) {
		return 0; /* kept anyway */
	}
	for (size_t i = 0; i < run->supers; i++) {
		if (by_place(&run->super[i], &w) == 0) {
			return 0;
		}
	}
	float *values = malloc(run->module[module].cols * sizeof *values);
	struct cwe_super_weight *more = realloc(run->super, (run->supers + 1) * sizeof *more);
	int r = values != NULL && more != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for super weights");
	if (more != NULL) {
		run->super = more;
	}
	r = r == 0 ? read_value(run, &w, values, err) : r;
	if (r == 0) {
		run->super[run->supers++] = w;
		qsort(run->super, run->supers, sizeof *run->super, by_place);
	}
	free(values);
	return r;
}

static void forget(struct cwe_run *run)
{
	free(run->super);
	run->super = NULL;
	run->supers = 0;
}

json_t *cwe_run_super_places(const struct cwe_run *run)
{
	json_t *places = run->job->super_weights ? json_array() : NULL;
	for (size_t i = 0; i < run->supers; i++) {
		const struct cwe_super_weight *w = &run->super[i];
		(void)json_array_append_new(places, json_pack("[I,I,I]", (json_int_t)w->module, (json_int_t)w->row, (json_int_t)w->col));
	}
	return places;
}

/* The model is looked at once: what was found lies on scratch. */
static int save(const struct cwe_run *run, struct cwb_err *err)
{
	json_t *all = json_pack("{s:s,s:o}", "identity", run->identity, "places", cwe_run_super_places(run));
	size_t length = 0;
	char *text = all != NULL ? cwb_json_dump(all, &length) : NULL;
	json_decref(all);
	int r = text != NULL ? cwb_file_replace(run->scratch_fd, FILE_NAME, text, length, 0600, err)
			     : cwb_err_set(err, -ENOMEM, "no memory for super weights");
	free(text);
	return r;
}

int cwe_run_super_take(struct cwe_run *run, const json_t *places)
{
	json_t *place;
	size_t i;
	forget(run);
	if (!json_is_array(places)) {
		return -1;
	}
	json_array_foreach ((json_t *)(uintptr_t)places, i, place) {
		json_int_t at[3];
		for (size_t k = 0; k < 3; k++) {
			at[k] = json_is_integer(json_array_get(place, k)) ? json_integer_value(json_array_get(place, k)) : -1;
		}
		if (at[0] < 0 || at[1] < 0 || at[2] < 0 || (uint64_t)at[0] >= run->modules ||
			(uint64_t)at[1] >= run->module[at[0]].rows || (uint64_t)at[2] >= run->module[at[0]].cols ||
			cwe_run_super_add(run, (size_t)at[0], (uint64_t)at[1], (uint64_t)at[2], NULL) != 0) {
			forget(run);
			return -1;
		}
	}
	return 0;
}

/* Places of an earlier attempt; not 0 when there is no such file, or not of this job. */
static int load(struct cwe_run *run)
{
	char *text = NULL;
	size_t length = 0;
	json_t *all = NULL;
	int r = cwb_file_read_at(run->scratch_fd, FILE_NAME, FILE_LIMIT, &text, &length, NULL);
	r = r == 0 ? cwb_json_load(text, length, FILE_LIMIT, 8, &all, NULL) : r;
	const char *identity = r == 0 ? json_string_value(json_object_get(all, "identity")) : NULL;
	r = identity == NULL || strcmp(identity, run->identity) != 0 ? -1 : cwe_run_super_take(run, json_object_get(all, "places"));
	json_decref(all);
	free(text);
	return r;
}

static int find(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_corpus corpus = {0};
	struct cwe_super_list list = {0};
	int r = make_corpus(run, &corpus, err);
	r = r == 0 ? cwe_super_find(&run->model, &corpus, run->p->scratch, run->boundary_memory, &list, err) : r;
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		r = cwe_run_super_add(run, run->layer_at[list.item[i].layer] + list.item[i].linear, list.item[i].row, list.item[i].col,
			err);
	}
	free(list.item);
	cwe_corpus_free(&corpus);
	return r;
}

int cwe_run_super(struct cwe_run *run, struct cwb_err *err)
{
	if (run->scorer == NULL || !run->job->super_weights) {
		forget(run);
		return 0;
	}
	/* Found before in this attempt, or in the cache. */
	if (run->super_known || load(run) == 0) {
		run->super_known = 1;
		return 0;
	}
	forget(run);
	int r = find(run, err);
	run->super_known = r == 0;
	return r == 0 ? save(run, err) : r;
}

json_t *cwe_run_super_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	for (size_t i = 0; i < run->supers; i++) {
		const struct cwe_super_weight *w = &run->super[i];
		(void)json_array_append_new(a, json_pack("{s:s,s:I,s:I,s:f,s:b}", "module", run->module[w->module].name, "row",
			(json_int_t)w->row, "column", (json_int_t)w->col, "value", (double)w->value, "selected", w->selected));
	}
	return a;
}
