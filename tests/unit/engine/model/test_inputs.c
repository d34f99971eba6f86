/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inputs of Linears that are quantized as their weights say, each in its own way, and weights that meet them as they are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/quantizer.h>

#include "engine/calibrate/statistics.h"
#include "engine/model/layer.h"
#include "engine/model/ops.h"
#include "tests/unit/engine/model/synthetic.h"

enum { TOKENS = 9, HIDDEN = 12, INNER = 20 };

/* The synthetic weights, with inputs. */
struct view {
	struct cwe_weights base;
	struct cwe_weights *of;
	struct cwp_activation all; /* of every Linear, unless a rule names it */
	int split_all;             /* everything is exact */
	const struct rule {
		const char *linear;
		struct cwp_activation how;
		int split; /* every third weight is exact */
	} *rule; /* ends with NULL */
};

static int view_read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	return cwe_weights_read_f32(((struct view *)w)->of, t, row, rows, dst, err);
}

static void view_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret)
{
	const struct view *v = (const struct view *)w;
	if (t->rank != 2 || strstr(t->name, "layers.") == NULL) {
		return;
	}
	ret->how = v->all;
	ret->split = v->split_all;
	for (const struct rule *r = v->rule; r != NULL && r->linear != NULL; r++) {
		if (strstr(t->name, r->linear) != NULL) {
			ret->how = r->how;
			ret->split = r->split;
		}
	}
}

static int view_read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
	float *exact, struct cwb_err *err)
{
	const struct view *v = (const struct view *)w;
	uint64_t n = rows * t->shape[1];
	int r = cwe_weights_read_f32(v->of, t, row, rows, quantized, err);
	for (uint64_t i = 0; i < n; i++) {
		int moves = v->split_all || (row * t->shape[1] + i) % 3 == 0;
		exact[i] = moves ? quantized[i] : 0;
		quantized[i] = moves ? 0 : quantized[i];
	}
	return r;
}

static void open_view(struct synthetic *s, struct view *v)
{
	static const struct cwe_weights_ops ops = {.read_f32 = view_read_f32, .input = view_input, .read_split = view_read_split};
	struct cwb_err err = {0};
	v->of = s->source.weights;
	v->base = (struct cwe_weights){.ops = &ops, .count = v->of->count, .tensors = v->of->tensors};
	if (cwe_model_open(&s->source, &v->base, &s->device, &s->model, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

static void close_view(struct synthetic *s)
{
	synthetic_close(s); /* the source's own weights are closed with it */
}

static void check_family(const char *config)
{
	struct synthetic s;
	struct view v = {.all = {.kind = CWP_ACT_INT8_OUTLIER, .threshold = 1e-6f}};
	synthetic_open(&s, config);
	synthetic_sample(&s, 0.5f, (const size_t[]){5, 0});
	synthetic_sample(&s, 0.25f, (const size_t[]){4, 3, 0});
	synthetic_corpus(&s);
	double exact = synthetic_loss(&s);
	/* Where every channel is an outlier nothing changes. */
	open_view(&s, &v);
	assert_true(s.model.quantizes && !s.model.splits);
	assert_true(synthetic_loss(&s) == exact);
	/* A coarse grid changes the loss, */
	v.all = (struct cwp_activation){.kind = CWP_ACT_INT8_TENSOR, .scale = 0.5f};
	double coarse = synthetic_loss(&s);
	assert_true(isfinite(coarse) && fabs(coarse - exact) > 1e-4);
	/* not where it is switched off, */
	s.model.quantizes = 0;
	assert_true(synthetic_loss(&s) == exact);
	/* and not where all weights are exact. */
	v.split_all = 1;
	open_view(&s, &v);
	assert_true(s.model.splits);
	assert_true(fabs(synthetic_loss(&s) - exact) <= 1e-6 * (1 + fabs(exact)));
	close_view(&s);
}

static void families(void **state)
{
	(void)state;
	check_family(SYNTHETIC_CONFIG);
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_family(synthetic_family[i]);
	}
}

/* What the tap saw of a layer: the inputs of its Linears. */
struct seen {
	float x[8][TOKENS * INNER];
	uint32_t count;
};

static int see(void *arg, const struct cwe_flow *flow, const float *d_x, struct cwb_err *err)
{
	struct seen *seen = arg;
	(void)err;
	assert_int_equal(flow->linear, seen->count);
	assert_int_equal(flow->tokens, TOKENS);
	memcpy(seen->x[seen->count++], d_x, TOKENS * flow->in * sizeof(float));
	return 0;
}

/* y = Q(x) A^T + x E^T + bias of one Linear, in f64. */
static void check_linear(struct synthetic *s, const struct rule *rule, const float *x, uint64_t rows, uint64_t cols,
	const struct cwp_sequences *sequences, const float *got, const float *residual)
{
	char name[128];
	struct cwp_activation how = rule->how;
	float q[TOKENS * INNER], *w, *bias;
	(void)snprintf(name, sizeof name, "model.layers.0.%s.weight", rule->linear);
	w = synthetic_tensor(s, name, NULL);
	(void)snprintf(name, sizeof name, "model.layers.0.%s.bias", rule->linear);
	bias = synthetic_tensor(s, name, NULL);
	memcpy(q, x, TOKENS * cols * sizeof *q);
	how.sequences = *sequences;
	if (how.kind != CWP_ACT_NONE) {
		assert_int_equal(s->device.ops->fake_quant(s->device.b, &how, x, TOKENS, cols, q), 0);
	}
	for (uint64_t t = 0; t < TOKENS; t++) {
		for (uint64_t o = 0; o < rows; o++) {
			double y = (double)bias[o] + (residual != NULL ? (double)residual[t * rows + o] : 0);
			for (uint64_t c = 0; c < cols; c++) {
				int exact = rule->split && (o * cols + c) % 3 == 0;
				y += (double)w[o * cols + c] * (double)(exact ? x : q)[t * cols + c];
			}
			if (fabs(y - (double)got[t * rows + o]) > 1e-5 * (1 + fabs(y))) {
				fail_msg("%s, token %d, output %d: %g, want %g", rule->linear, (int)t, (int)o, (double)got[t * rows + o], y);
			}
		}
	}
}

/* Each Linear of a layer in its own way; up shares what was made for gate. */
static void one_layer(void **state)
{
	static const struct rule rules[] = {{"self_attn.q_proj", {.kind = CWP_ACT_FP8_TOKEN}, 0}, {"self_attn.k_proj", {0}, 1},
		{"self_attn.v_proj", {.kind = CWP_ACT_INT8_OUTLIER, .threshold = 1.5f}, 1},
		{"self_attn.o_proj", {.kind = CWP_ACT_INT8_TOKEN}, 1}, {"mlp.gate_proj", {.kind = CWP_ACT_INT8_TENSOR, .scale = 0.25f, .zero = 5}, 0},
		{"mlp.up_proj", {.kind = CWP_ACT_INT8_TENSOR, .scale = 0.25f, .zero = 5}, 1},
		{"mlp.down_proj", {.kind = CWP_ACT_FP8_GROUP, .group = 4}, 0}, {0}};
	const uint64_t start[] = {0, 4, TOKENS};
	const struct cwp_sequences sequences = {2, start};
	struct synthetic s;
	struct view v = {.rule = rules};
	struct cwb_err err = {0};
	struct seen seen = {.count = 0};
	struct cwe_layer layer;
	struct cwe_workspace ws;
	float x[TOKENS * HIDDEN], out[TOKENS * HIDDEN];
	uint32_t position[TOKENS];
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	open_view(&s, &v);
	for (int i = 0; i < TOKENS * HIDDEN; i++) {
		x[i] = (float)(cwe_random(3, 1, (uint64_t)i) >> 40) / (float)(1 << 23) - 1;
	}
	for (uint32_t t = 0; t < TOKENS; t++) {
		position[t] = t < 4 ? t : t - 4;
	}
	const struct cwe_chunk chunk = {.tokens = TOKENS, .sequences = sequences, .samples = sequences, .d_position = position};
	const struct cwe_tap tap = {.arg = &seen, .input = see};
	assert_int_equal(cwe_layer_new(&s.model, &layer, &err), 0);
	assert_int_equal(cwe_layer_load(&s.model, 0, &layer, &err), 0);
	assert_int_equal(cwe_workspace_new(&s.model, TOKENS, TOKENS, 0, &ws, &err), 0);
	assert_int_equal(cwe_layer_forward(&s.model, &layer, &chunk, x, &ws, out, &tap, &err), 0);
	assert_int_equal(seen.count, 7);
	assert_memory_equal(seen.x[0], seen.x[2], TOKENS * HIDDEN * sizeof *x);
	check_linear(&s, &rules[2], seen.x[2], 6, HIDDEN, &sequences, ws.d_v, NULL);
	check_linear(&s, &rules[3], seen.x[3], HIDDEN, 18, &sequences, ws.d_x2, x);
	check_linear(&s, &rules[4], seen.x[4], INNER, HIDDEN, &sequences, ws.d_gate, NULL);
	check_linear(&s, &rules[5], seen.x[5], INNER, HIDDEN, &sequences, ws.d_up, NULL);
	check_linear(&s, &rules[6], seen.x[6], HIDDEN, INNER, &sequences, out, ws.d_x2);
	cwe_workspace_free(&s.model, &ws);
	cwe_layer_free(&s.model, &layer);
	close_view(&s);
}

/* Counts of a layer's inputs: q, k and v share one, and so do gate and up. */
static void histograms(void **state)
{
	const uint64_t start[] = {0, TOKENS};
	const struct cwp_sequences one = {1, start};
	struct synthetic s;
	struct cwb_err err = {0};
	struct seen seen = {.count = 0};
	struct cwe_layer layer;
	struct cwe_workspace ws;
	struct cwe_statistics statistics;
	float x[TOKENS * HIDDEN], out[TOKENS * HIDDEN];
	uint32_t position[TOKENS];
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	for (int i = 0; i < TOKENS * HIDDEN; i++) {
		x[i] = (float)(cwe_random(3, 2, (uint64_t)i) >> 40) / (float)(1 << 23) - 1;
	}
	for (uint32_t t = 0; t < TOKENS; t++) {
		position[t] = t;
	}
	const struct cwe_chunk chunk = {.tokens = TOKENS, .sequences = one, .samples = one, .d_position = position};
	const struct cwe_tap look = {.arg = &seen, .input = see};
	assert_int_equal(cwe_layer_new(&s.model, &layer, &err), 0);
	assert_int_equal(cwe_layer_load(&s.model, 0, &layer, &err), 0);
	assert_int_equal(cwe_workspace_new(&s.model, TOKENS, TOKENS, 0, &ws, &err), 0);
	assert_int_equal(cwe_statistics_new(&s.model, CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_ABSMAX, 0, &statistics, &err), 0);
	assert_int_equal(cwe_statistics_begin(&statistics, 0, &err), 0);
	struct cwe_tap count = cwe_statistics_tap(&statistics, 0);
	assert_int_equal(cwe_layer_forward(&s.model, &layer, &chunk, x, &ws, out, &look, &err), 0);
	assert_int_equal(cwe_layer_forward(&s.model, &layer, &chunk, x, &ws, out, &count, &err), 0);
	for (uint32_t i = 0; i < seen.count; i++) {
		struct cwe_module_statistics st;
		uint64_t want[CWP_HISTOGRAM_BINS] = {0};
		assert_int_equal(cwe_statistics_get(&statistics, &layer, i, &st, &err), 0);
		assert_int_equal(s.device.ops->act_histogram(s.device.b, seen.x[i], TOKENS, st.cols, st.cols, want), 0);
		assert_memory_equal(st.act_histogram, want, sizeof want);
	}
	cwe_statistics_free(&statistics);
	cwe_workspace_free(&s.model, &ws);
	cwe_layer_free(&s.model, &layer);
	synthetic_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families),
		cmocka_unit_test(one_layer),
		cmocka_unit_test(histograms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
