/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Importances, combined score, thresholds and mask counts on SmolLM2-135M-Instruct equal PyTorch's, within the tolerances
 * that the reference's README measured. Needs the model that scripts/packages --model rebuilds, and 1.5 GiB. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/loglik.h"
#include "engine/format/safetensors.h"
#include "engine/select/select.h"
#include "tests/golden/engine.h"

#define SETS 4
#define LINEARS 210
#define SAMPLES 8

static const char *const set_name[SETS] = {"pair", "safe", "text", "instr"};
/* S = (Q_pair + Q_safe) / 8 - (Q_text + Q_instr) / 8. */
static const double sign[SETS] = {1, 1, -1, -1};

struct scores {
	struct test_engine engine;
	struct cwe_safetensors *file;
	json_t *samples;
	struct cwe_sample_set set[SETS];
	struct cwe_corpus corpus;
	uint64_t start[LINEARS + 1]; /* weights before each Linear */
	float *combined;             /* all weights */
};

static struct scores fixture;

static void *tensor(const char *name)
{
	struct cwb_err err = {0};
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(fixture.file, name);
	if (e == NULL) {
		fail_msg("the reference has no %s", name);
		return NULL;
	}
	void *p = malloc(e->bytes + 1);
	assert_non_null(p);
	assert_int_equal(cwe_safetensors_read(fixture.file, e, 0, p, e->bytes, &err), 0);
	return p;
}

static void *set_tensor(const char *kind, int set, const char *what)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%s/%s%s%s", kind, set_name[set], what[0] != '\0' ? "/" : "", what);
	return tensor(name);
}

static void read_sequence(const json_t *json, struct cwe_sequence *s)
{
	const json_t *ids = json_object_get(json, "ids"), *weights = json_object_get(json, "weights");
	s->count = json_array_size(ids);
	s->id = calloc(s->count, sizeof *s->id);
	s->weight = calloc(s->count, sizeof *s->weight);
	for (size_t i = 0; i < s->count; i++) {
		s->id[i] = (uint32_t)json_integer_value(json_array_get(ids, i));
		s->weight[i] = (float)json_number_value(json_array_get(weights, i));
	}
}

static void read_samples(void)
{
	json_error_t at;
	fixture.samples = json_load_file(test_shared("golden/scores-smollm2/samples.json"), 0, &at);
	assert_non_null(fixture.samples);
	for (int k = 0; k < SETS; k++) {
		const json_t *list = json_object_get(json_object_get(fixture.samples, "samples"), set_name[k]);
		struct cwe_sample_set *set = &fixture.set[k];
		set->count = json_array_size(list);
		assert_int_equal(set->count, SAMPLES);
		set->sample = calloc(set->count, sizeof *set->sample);
		for (size_t i = 0; i < set->count; i++) {
			const json_t *sequences = json_object_get(json_array_get(list, i), "sequences");
			set->sample[i].count = json_array_size(sequences);
			set->sample[i].sequence = calloc(set->sample[i].count, sizeof(struct cwe_sequence));
			for (size_t q = 0; q < set->sample[i].count; q++) {
				read_sequence(json_array_get(sequences, q), &set->sample[i].sequence[q]);
			}
		}
	}
}

static void near(const char *what, int set, size_t linear, double found, double want, double tolerance)
{
	if (!(fabs(found - want) <= tolerance)) {
		fail_msg("%s of set %s, Linear %zu: %.9g, the reference says %.9g (tolerance %.3g)", what, set_name[set], linear,
			found, want, tolerance);
	}
}

/* Sums by row or column against the reference, relative to the Linear's largest. */
static void compare_sums(const char *what, int set, size_t linear, const double *found, const float *want, uint64_t n)
{
	double most = 0;
	for (uint64_t i = 0; i < n; i++) {
		most = fmax(most, fabs((double)want[i]));
	}
	for (uint64_t i = 0; i < n; i++) {
		near(what, set, linear, found[i], (double)want[i], 2e-3 * most);
	}
}

static void check_gradients(int set, size_t i, const char *kind, const float *x, uint64_t rows, uint64_t cols)
{
	double *row = calloc(rows + cols, sizeof *row), *col = row + rows, sum = 0, most = 0;
	for (uint64_t k = 0; k < rows * cols; k++) {
		row[k / cols] += (double)x[k];
		col[k % cols] += (double)x[k];
		sum += (double)x[k];
		most = fmax(most, (double)x[k]);
	}
	double *want_sum = set_tensor(kind, set, "sum");
	float *want_max = set_tensor(kind, set, "max"), *rows_want = set_tensor(kind, set, "rows");
	float *cols_want = set_tensor(kind, set, "cols"), *value = set_tensor(kind, set, "value");
	int64_t *row_start = tensor("layout/row_start"), *col_start = tensor("layout/col_start"), *index = tensor("layout/index");
	near("sum", set, i, sum, want_sum[i], 2e-3 * fabs(want_sum[i]));
	near("maximum", set, i, most, (double)want_max[i], 5e-3 * (double)want_max[i]);
	compare_sums("row sum", set, i, row, rows_want + row_start[i], rows);
	compare_sums("column sum", set, i, col, cols_want + col_start[i], cols);
	for (size_t k = 0; k < 64; k++) {
		near("value", set, i, (double)x[index[i * 64 + k]], (double)value[i * 64 + k], 5e-3 * (double)want_max[i]);
	}
	free(row);
	free(want_sum);
	free(want_max);
	free(rows_want);
	free(cols_want);
	free(value);
	free(row_start);
	free(col_start);
	free(index);
}

/* x_sq holds the inputs of attention, o, MLP and down of each layer one after another. */
static void check_inputs(int set, uint32_t layer, uint32_t linear, const double *sq, uint64_t cols)
{
	float *want = set_tensor("x_sq", set, "");
	const struct cwe_arch *a = &fixture.engine.model.arch;
	uint64_t width = 3ull * a->hidden + a->intermediate;
	uint64_t at = linear <= CWE_V ? 0 : linear == CWE_O ? a->hidden : linear <= CWE_UP ? 2ull * a->hidden : 3ull * a->hidden;
	for (uint64_t k = 0; k < cols; k++) {
		double w = (double)want[layer * width + at + k];
		near("x^2", set, layer, sq[k], w, 1e-4 * w + 1e-12);
	}
	free(want);
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear,
	const struct cwe_module_statistics *s, struct cwb_err *err)
{
	size_t i = (size_t)layer * 7 + linear;
	(void)arg, (void)err;
	check_gradients((int)set, i, "grad_sq", s->grad_sq, s->rows, s->cols);
	check_gradients((int)set, i, "grad_abs", s->grad_abs, s->rows, s->cols);
	check_inputs((int)set, layer, linear, s->act_sq, s->cols);
	for (uint64_t k = 0; k < s->rows * s->cols; k++) {
		fixture.combined[fixture.start[i] + k] += (float)(sign[set] / SAMPLES) * s->grad_sq[k];
	}
	return 0;
}

static int open_fixture(void **state)
{
	struct cwb_err err = {0};
	const char *model = test_cache("smollm2-hf");
	(void)state;
	test_engine_open(&fixture.engine, model, 0, NULL);
	assert_int_equal(cwe_safetensors_open(test_shared("golden/scores-smollm2/scores.safetensors"), &fixture.file, &err), 0);
	read_samples();
	assert_int_equal(cwe_corpus_new(fixture.set, SETS, 0, &fixture.corpus, &err), 0);
	for (size_t i = 0; i < LINEARS; i++) {
		struct cwe_linear l;
		cwe_linear_at(&fixture.engine.model.arch, (uint32_t)(i / 7), (uint32_t)(i % 7), &l);
		fixture.start[i + 1] = fixture.start[i] + l.rows * l.cols;
	}
	fixture.combined = calloc(fixture.start[LINEARS], sizeof *fixture.combined);
	assert_non_null(fixture.combined);
	return 0;
}

static int close_fixture(void **state)
{
	(void)state;
	for (int k = 0; k < SETS; k++) {
		cwe_samples_free(&fixture.set[k]);
	}
	free(fixture.combined);
	json_decref(fixture.samples);
	cwe_corpus_free(&fixture.corpus);
	cwe_safetensors_close(fixture.file);
	test_engine_close(&fixture.engine);
	return 0;
}

/* Every token's loss within 1e-3. */
static void token_losses(void **state)
{
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwe_token_score score = {.nll = calloc(fixture.corpus.tokens, sizeof(float))};
	uint64_t at = 0;
	(void)state;
	if (cwe_loglik_run(&fixture.engine.model, &fixture.corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	for (int k = 0; k < SETS; k++) {
		const json_t *list = json_object_get(json_object_get(fixture.samples, "samples"), set_name[k]);
		for (size_t i = 0; i < fixture.set[k].count; i++) {
			for (size_t q = 0; q < fixture.set[k].sample[i].count; q++) {
				const struct cwe_sequence *s = &fixture.set[k].sample[i].sequence[q];
				const json_t *nll = json_object_get(
					json_array_get(json_object_get(json_array_get(list, i), "sequences"), q), "nll");
				for (size_t t = 0; t < s->count; t++, at++) {
					if (s->weight[t] != 0) {
						near("loss", k, t, (double)score.nll[at], json_number_value(json_array_get(nll, t)), 1e-3);
					}
				}
			}
		}
	}
	free(score.nll);
}

static void statistics(void **state)
{
	struct cwb_err err = {0};
	struct cwe_calibration c = {.model = &fixture.engine.model, .corpus = &fixture.corpus,
		.needs = CWP_STAT_GRAD_SQ | CWP_STAT_GRAD_ABS | CWP_STAT_ACT_SQ, .boundary_memory = UINT64_MAX, .inside_memory = 64u << 20,
		.resume = fixture.engine.model.arch.layers, .module = take_module};
	(void)state;
	if (cwe_calibrate_run(&c, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

static void thresholds(void **state)
{
	static const struct {
		const char *name;
		double tau;
		uint64_t k;
	} budget[] = {{"0.005", 0.005, 530841}, {"0.01", 0.01, 1061683}, {"0.05", 0.05, 5308416}, {"0.6", 0.6, 63700992}};
	uint64_t n = fixture.start[LINEARS];
	(void)state;
	for (size_t b = 0; b < sizeof budget / sizeof *budget; b++) {
		struct cwe_threshold t;
		struct cwb_err err = {0};
		char name[64];
		uint64_t above, ties;
		uint64_t k = cwe_fraction_count(budget[b].tau, n);
		assert_int_equal(k, budget[b].k);
		assert_int_equal(cwe_threshold_begin(&t, k, &err), 0);
		int r;
		do {
			cwe_threshold_feed(&t, fixture.combined, n);
			r = cwe_threshold_next(&t, &err);
		} while (r == 1);
		assert_int_equal(r, 0);
		float value = cwe_threshold_value(&t, &above, &ties);
		cwe_threshold_end(&t);
		(void)snprintf(name, sizeof name, "threshold/%s", budget[b].name);
		float *want = tensor(name);
		if (!(fabs((double)value - (double)*want) <= 1e-3 * fabs((double)*want))) {
			fail_msg("threshold %s: %.9g, the reference says %.9g", budget[b].name, (double)value, (double)*want);
		}
		(void)snprintf(name, sizeof name, "mask_count/%s", budget[b].name);
		int64_t *count = tensor(name);
		for (size_t i = 0; i < LINEARS; i++) {
			uint64_t found = 0;
			for (uint64_t w = fixture.start[i]; w < fixture.start[i + 1]; w++) {
				found += fixture.combined[w] >= value;
			}
			near("mask count", 0, i, (double)found, (double)count[i], 0.005 * (double)count[i] + 5);
		}
		free(want);
		free(count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(token_losses),
		cmocka_unit_test(statistics),
		cmocka_unit_test(thresholds),
	};
	(void)test_shared("golden/scores-smollm2/README.md");
	if (test_cache("smollm2-hf") == NULL) {
		print_message("skipped: the model is absent; scripts/packages --model fetches it\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
