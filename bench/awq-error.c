/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every Linear of the first layers behind scales of channels, without and with protection, for whoever compares them: the half
 * of tests/interop/test_awq.py and test_smoothquant.py that runs this engine.
 *
 *     awq-error-run JOB LAYERS SHARE [inputs]
 *
 * JOB is a job file, of which model, quantizer and calibration sets count; what is measured is the original model. With
 * protection the given share of each matrix is kept: the weights whose rounding to nearest would do the most harm on its own,
 * (Q(w) - w)^2 E[x^2].
 *
 * To standard output, a layer at a time: for each Linear a line of JSON {"module", "rows", "cols", "tokens", "input", "scores"} and
 * binary weight f32 [rows, cols], x x^T f32 [cols, cols], sum of |x| f64 [cols], mask [rows, (cols + 7) / 8]; with "inputs", for each
 * piece of each distinct input a line {"inputs", "tokens", "cols"} and binary f32 [tokens, cols]; then, without and
 * with protection, for each Linear a line {"way", "module"} and binary: what its columns were multiplied with f32 [cols], what its
 * rows were divided by f32 [rows], and what an engine would compute with f32 [rows, cols]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "bench/error.h"
#include "engine/calibrate/pass.h"
#include "engine/pipeline/quantize.h"
#include "engine/pipeline/sequential.h"
#include "engine/pipeline/smooth.h"

struct bench {
	struct cwe_run run;
	struct cwe_quantizing q[2]; /* without and with protection */
	struct cwe_pass pass;
	struct cwe_statistics statistics;
	double share;
	int inputs; /* they are shown too */
};

static void put(const void *data, size_t size, uint64_t n)
{
	(void)fwrite(data, size, n, stdout);
}

static void put_line(json_t *line)
{
	char *text = must(json_dumps(line, JSON_COMPACT));
	puts(text);
	free(text);
	json_decref(line);
}

/* An input goes out as it comes, a piece of the corpus at a time. */
static int show_input(void *arg, const struct cwe_flow *flow, const float *x, struct cwb_err *err)
{
	struct bench *b = arg;
	struct cwe_linear l;
	(void)err;
	cwe_linear_at(&b->run.model.arch, b->statistics.layer, flow->linear, &l);
	if (l.measures) {
		put_line(json_pack("{s:I,s:I,s:I}", "inputs", (json_int_t)l.input_at, "tokens", (json_int_t)flow->tokens, "cols",
			(json_int_t)l.cols));
		put(x, sizeof *x, flow->tokens * l.cols);
	}
	return 0;
}

static int choose(struct bench *b, const struct cwe_run_module *m, const struct cwe_module_statistics *st, uint8_t *mask, struct cwb_err *err)
{
	uint64_t n = m->rows * m->cols;
	float *score = must(malloc(n * sizeof *score));
	int r = cwe_run_quantize_error(&b->run, m, 0, m->rows, st->weight, score);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		score[i] *= score[i] * st->gram[i % m->cols * (m->cols + 1)];
	}
	memset(mask, 0, m->rows * ((m->cols + 7) / 8));
	if (r == 0) {
		choose_largest(score, n, m->cols, b->share, mask);
	}
	free(score);
	return r != 0 ? cwe_host_error(b->run.p->host, "static", m->name, r, err) : 0;
}

/* The originals, and the masks for the way with protection. */
static int show_layer(struct bench *b, uint32_t layer, struct cwb_err *err)
{
	int r = 0;
	for (size_t i = b->run.layer_at[layer]; r == 0 && i < b->run.layer_at[layer + 1]; i++) {
		const struct cwe_run_module *m = &b->run.module[i];
		struct cwe_module_statistics st;
		struct cwe_linear l;
		uint8_t *mask = cwe_smoothing_mask(b->q[1].smoothing, m);
		cwe_linear_at(&b->run.model.arch, layer, m->linear, &l);
		r = cwe_statistics_get(&b->statistics, &b->pass.layer, m->linear, &st, err);
		r = r == 0 ? choose(b, m, &st, mask, err) : r;
		if (r == 0) {
			put_line(json_pack("{s:s,s:I,s:I,s:I,s:I,s:b}", "module", m->name, "rows", (json_int_t)m->rows, "cols", (json_int_t)m->cols,
				"tokens", (json_int_t)st.tokens, "input", (json_int_t)l.input_at, "scores", cwe_run_module_flags(&b->run, m) != 0));
			put(st.weight, sizeof(float), m->rows * m->cols);
			put(st.gram, sizeof(float), m->cols * m->cols);
			put(st.act_abs, sizeof(double), m->cols);
			put(mask, 1, m->rows * ((m->cols + 7) / 8));
		}
	}
	return r;
}

/* What the rows of a matrix were divided by. */
static void put_row_scales(const struct bench *b, const struct cwe_smoothing *s, const struct cwe_run_module *m)
{
	const struct cwe_arch *a = &b->run.model.arch;
	float *scale = must(malloc(m->rows * sizeof *scale));
	uint64_t at = 0;
	for (uint64_t i = 0; i < m->rows; i++) {
		scale[i] = 1;
	}
	for (uint32_t i = 0; i < cwe_folds(a, m->layer); i++) {
		struct cwe_fold f;
		cwe_fold_at(a, m->layer, i, &f);
		if (f.kind == CWE_FOLD_ROWS && f.producer == m->linear) {
			memcpy(scale + f.row, s->chosen + at, f.channels * sizeof *scale);
		}
		at += f.channels;
	}
	put(scale, sizeof *scale, m->rows);
	free(scale);
}

static int quantize(struct bench *b, int way, const struct cwe_run_module *m, struct cwb_err *err)
{
	const struct cwp_quantizer *q = b->run.quantizer->interface;
	struct cwe_quantizing *z = &b->q[way];
	struct cwe_module_statistics st;
	struct cwe_linear l;
	char note[256] = "";
	void *state = NULL;
	cwe_linear_at(&b->run.model.arch, m->layer, m->linear, &l);
	int r = cwe_statistics_get(&b->statistics, &b->pass.layer, m->linear, &st, err);
	r = r == 0 ? cwe_smoothing_module(z->smoothing, m, z->weight, &st, err) : r;
	if (r != 0) {
		return r;
	}
	if (way) {
		memcpy(z->mask, cwe_smoothing_mask(z->smoothing, m), m->rows * ((m->cols + 7) / 8));
	}
	struct cwp_quantizer_module module = {.size = sizeof module, .flags = cwe_run_module_flags(&b->run, m), .name = m->name,
		.rows = m->rows, .cols = m->cols, .tokens = st.tokens, .weight = st.weight,
		.mask = way ? z->mask : NULL, .mask_stride = (m->cols + 7) / 8,
		.act_sum = st.act_sum, .act_sq = st.act_sq, .act_abs = st.act_abs, .act_absmax = st.act_absmax, .gram = st.gram};
	r = q->prepare(&b->run.p->host->table, b->run.quantizer_settings, &m->grid, &module, &state, note, sizeof note);
	r = r != 0 ? cwe_host_error(b->run.p->host, "static", m->name, r, err) : cwe_quantizing_module(z, m, st.weight, state, err);
	q->release(state);
	if (r == 0) {
		cwe_quantizing_decode(z, m);
		put_line(json_pack("{s:i,s:s}", "way", way, "module", m->name));
		put(z->smoothing->scale + l.input_at, sizeof(float), m->cols);
		put_row_scales(b, z->smoothing, m);
		put(z->weight, sizeof(float), m->rows * m->cols);
	}
	return r;
}

static int look(struct bench *b, uint32_t layer, const struct cwe_tap *tap, struct cwb_err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < b->run.corpus.pieces; i++) {
		r = tap != NULL ? cwe_pass_look(&b->pass, &b->run.corpus.piece[i], layer & 1, tap, err)
				: cwe_pass_piece(&b->pass, &b->run.corpus.piece[i], layer & 1, (layer + 1) & 1, NULL, err);
	}
	return r;
}

static int take_layer(struct bench *b, uint32_t layer, struct cwb_err *err)
{
	struct cwe_tap tap = cwe_statistics_tap(&b->statistics, 0);
	struct cwe_smoothing_layer at = {.layer = layer, .statistics = &b->statistics, .loaded = &b->pass.layer};
	int r = cwe_layer_load(&b->run.model, layer, &b->pass.layer, err);
	r = r == 0 ? cwe_statistics_begin(&b->statistics, layer, err) : r;
	r = r == 0 ? look(b, layer, &tap, err) : r;
	r = r == 0 ? look(b, layer, NULL, err) : r;
	r = r == 0 ? show_layer(b, layer, err) : r;
	struct cwe_tap inputs = {.arg = b, .input = show_input};
	r = r == 0 && b->inputs ? look(b, layer, &inputs, err) : r;
	for (int way = 0; r == 0 && way < 2; way++) {
		r = cwe_layer_load(&b->run.model, layer, &b->pass.layer, err);
		r = r == 0 ? cwe_smoothing_run(b->q[way].smoothing, &at, err) : r;
		for (size_t i = b->run.layer_at[layer]; r == 0 && i < b->run.layer_at[layer + 1]; i++) {
			r = quantize(b, way, &b->run.module[i], err);
		}
	}
	return r;
}

static int take_layers(struct bench *b, uint32_t layers, struct cwb_err *err)
{
	struct cwe_run *run = &b->run;
	int r = cwe_run_open(run, err);
	r = r == 0 ? cwe_run_samples(run, err) : r;
	run->quantizer_needs |= CWP_STAT_GRAM | CWP_STAT_ACT_ABS; /* for whoever compares */
	r = r == 0 && !cwe_smoothing_wanted(run) ? cwb_err_set(err, CWP_EVALUE, "the job's quantizer scales no channels") : r;
	r = r == 0 ? cwe_quantizing_new(run, 0, &b->q[0], err) : r;
	r = r == 0 ? cwe_quantizing_new(run, 1, &b->q[1], err) : r;
	r = r == 0 ? cwe_pass_new(&run->model, &run->corpus, 2, UINT64_MAX, NULL, &b->pass, err) : r;
	r = r == 0 ? cwe_statistics_new(&run->model, run->quantizer_needs, 0, &b->statistics, err) : r;
	r = r == 0 ? cwe_pass_embed(&b->pass, err) : r;
	for (uint32_t l = 0; r == 0 && l < layers && l < run->model.arch.layers; l++) {
		r = take_layer(b, l, err);
	}
	cwe_statistics_free(&b->statistics);
	cwe_pass_free(&b->pass);
	cwe_quantizing_free(&b->q[0]);
	cwe_quantizing_free(&b->q[1]);
	return r;
}

int main(int argc, char **argv)
{
	struct cwe_host host;
	struct cwe_pool *pool = NULL;
	struct cwe_pipeline p = {.host = &host};
	struct cwj_job *job = NULL;
	struct cwb_err err = {0};
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	if (argc != 4 && !(argc == 5 && strcmp(argv[4], "inputs") == 0)) {
		fprintf(stderr, "usage: awq-error-run JOB LAYERS SHARE [inputs]\n");
		return 64;
	}
	int r = cwj_job_read(argv[1], &job, &err);
	r = r == 0 ? cwe_pool_new(0, &pool, &err) : r;
	if (r == 0) {
		cwe_host_init(&host, pool, 0);
		r = cwe_registry_new(&plugins, plugins != NULL, CWE_REGISTRY_ANY_OWNER, &p.registry, &err);
	}
	if (r == 0) {
		p.job = job;
		struct bench b = {.run = {.p = &p, .job = job, .output_fd = -1, .scratch_fd = -1, .cache = {.store.folder = -1, .entry = -1}},
			.share = strtod(argv[3], NULL), .inputs = argc == 5};
		r = take_layers(&b, (uint32_t)strtoul(argv[2], NULL, 10), &err);
		cwe_run_close(&b.run);
	}
	cwe_registry_free(p.registry);
	cwe_pool_free(pool);
	cwj_job_free(job);
	if (r != 0) {
		fprintf(stderr, "awq-error-run: %s\n", err.message);
	}
	return r == 0 && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
