/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The pilot's pass: the same calibration over fewer samples, of which only sums are kept. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/calibrate.h"
#include "engine/pipeline/importance.h"
#include "engine/pipeline/pilot.h"

#define SHARE 8
#define LEAST 8

uint64_t cwe_pilot_samples(uint64_t samples)
{
	uint64_t n = (samples + SHARE - 1) / SHARE;
	n = n < LEAST ? LEAST : n;
	return n < samples ? n : samples;
}

struct pilot {
	struct cwe_run *run;
	struct cwe_importance importance;
	struct cwe_corpus corpus;
	double *sum; /* [layers, sets] */
};

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear,
	const struct cwe_module_statistics *s, struct cwb_err *err)
{
	struct pilot *p = arg;
	if (linear >= cwe_linears_scored(&p->run->model.arch, layer)) {
		return 0;
	}
	const struct cwe_run_module *m = &p->run->module[p->run->layer_at[layer] + linear];
	return m->quantized ? cwe_importance_of(&p->importance, m, s, set, &p->sum[layer * p->run->sets + set], err) : 0;
}

/* The pilot's samples as sets that borrow them. */
static int make_corpus(struct pilot *p, struct cwb_err *err)
{
	struct cwe_sample_set *set = calloc(p->run->sets, sizeof *set);
	if (set == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the pilot's sets");
	}
	for (size_t i = 0; i < p->run->sets; i++) {
		set[i] = p->run->set[i];
		set[i].count = cwe_pilot_samples(set[i].count);
	}
	int r = cwe_corpus_new(set, p->run->sets, p->run->piece, &p->corpus, err);
	free(set);
	return r;
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct pilot *p = arg;
	uint64_t tokens = p->corpus.tokens;
	cwe_run_progress(p->run, CWE_STAGE_CALIBRATE, total > 0 ? done / (total / tokens) : 0, tokens, "tokens of the pilot");
}

static int calibrate(struct pilot *p, double *sum, struct cwb_err *err)
{
	struct cwe_run *run = p->run;
	uint32_t layers = run->model.arch.layers;
	struct cwe_calibration c = {.model = &run->model, .corpus = &p->corpus, .needs = run->needs, .scratch = run->p->scratch,
		.boundary_memory = run->boundary_memory, .resume = layers, .arg = p, .module = take_module, .progress = progress,
		.more = run->several.open.list, .n_more = run->several.open.n};
	int r = cwe_calibrate_run(&c, err);
	/* In the order of the sums of all samples: where the pilot is all of a set, they are the same numbers. */
	for (size_t s = 0; r == 0 && s < run->sets; s++) {
		sum[s] = 0;
		for (uint32_t l = layers; l > 0; l--) {
			sum[s] += p->sum[(l - 1) * run->sets + s];
		}
	}
	return r;
}

static int measure(struct cwe_run *run, double *sum, struct cwb_err *err)
{
	struct pilot p = {.run = run, .sum = calloc((size_t)run->model.arch.layers * run->sets, sizeof *p.sum)};
	int r = p.sum != NULL ? cwe_importance_new(run, &p.importance, err)
			      : cwb_err_set(err, -ENOMEM, "no memory for the pilot's sums");
	r = r == 0 ? make_corpus(&p, err) : r;
	r = r == 0 ? calibrate(&p, sum, err) : r;
	cwe_corpus_free(&p.corpus);
	cwe_importance_free(&p.importance);
	free(p.sum);
	return r;
}

/* Hexadecimal floats, so that they come back as they were. */
static json_t *note_of(const double *sum, size_t sets)
{
	json_t *list = json_array();
	for (size_t s = 0; s < sets; s++) {
		char text[64];
		(void)snprintf(text, sizeof text, "%a", sum[s]);
		if (json_array_append_new(list, json_string(text)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o}", "pilot", list);
}

static int read_note(const json_t *note, double *sum, size_t sets)
{
	const json_t *list = json_object_get(note, "pilot");
	for (size_t s = 0; s < sets; s++) {
		const char *text = json_string_value(json_array_get(list, s));
		if (text == NULL) {
			return 0;
		}
		sum[s] = strtod(text, NULL);
	}
	return json_array_size(list) == sets;
}

int cwe_run_pilot(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_combine *ret, struct cwb_err *err)
{
	double *sum = calloc(run->sets, sizeof *sum);
	int r = sum != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the pilot's sums");
	if (r == 0 && !read_note(tiles->note, sum, run->sets)) {
		/* Factors of combine: reference need no pilot. */
		r = run->job->combine == CWJ_COMBINE_MEAN ? measure(run, sum, err) : 0;
		r = r == 0 ? cwe_tiles_note(tiles, note_of(sum, run->sets), err) : r;
	}
	r = r == 0 ? cwe_combine_make(run->job, sum, run->weights, ret, err) : r;
	free(sum);
	return r;
}
