/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention against a reference in f64 that follows the definition, its backward pass against
 * finite differences of that reference, one-token attention against the last row, cross entropy
 * against the whole softmax. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;

static double *doubles(size_t n)
{
	double *x = calloc(n ? n : 1, sizeof(*x));
	assert_non_null(x);
	return x;
}

static double *widened(const float *x, size_t n)
{
	double *d = doubles(n);
	for (size_t i = 0; i < n; i++) {
		d[i] = (double)x[i];
	}
	return d;
}

struct reference {
	const struct cwp_attention *a;
	double *q, *k, *v, *out, *lse;
	size_t tokens;
};

/* The score of query t against key u, both tokens of the packed matrices. */
static double score(const struct reference *r, uint32_t head, size_t t, size_t u)
{
	const struct cwp_attention *a = r->a;
	size_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads);
	double s = 0.0;
	for (size_t i = 0; i < dim; i++) {
		s += r->q[(t * a->heads + head) * dim + i] * r->k[(u * a->kv_heads + kv) * dim + i];
	}
	s *= (double)a->scale;
	return a->softcap > 0.0F ? (double)a->softcap * tanh(s / (double)a->softcap) : s;
}

static void reference_row(const struct reference *r, uint32_t head, size_t start, size_t t)
{
	const struct cwp_attention *a = r->a;
	size_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads), from = start;
	double sum = 0.0, *out = r->out + (t * a->heads + head) * dim;
	if (a->window && t - start + 1 > a->window) {
		from = t + 1 - a->window;
	}
	memset(out, 0, dim * sizeof(*out));
	for (size_t u = from; u <= t; u++) {
		double p = exp(score(r, head, t, u));
		sum += p;
		for (size_t i = 0; i < dim; i++) {
			out[i] += p * r->v[(u * a->kv_heads + kv) * dim + i];
		}
	}
	for (size_t i = 0; i < dim; i++) {
		out[i] /= sum;
	}
	r->lse[head * r->tokens + t] = log(sum);
}

static void reference_run(const struct reference *r)
{
	for (uint64_t s = 0; s < r->a->sequences.count; s++) {
		for (size_t t = r->a->sequences.start[s]; t < r->a->sequences.start[s + 1]; t++) {
			for (uint32_t h = 0; h < r->a->heads; h++) {
				reference_row(r, h, r->a->sequences.start[s], t);
			}
		}
	}
}

static double loss(const struct reference *r, const float *dout, size_t n)
{
	double sum = 0.0;
	reference_run(r);
	for (size_t i = 0; i < n; i++) {
		sum += r->out[i] * (double)dout[i];
	}
	return sum;
}

/* Gradients of `at` at every `step`-th element, compared with what the backend gave. */
static void differences(const struct reference *r, const char *what, const float *dout,
	size_t n_out, double *at, const float *got, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i += step) {
		double keep = at[i], e = 1e-5;
		at[i] = keep + e;
		double high = loss(r, dout, n_out);
		at[i] = keep - e;
		double want = (high - loss(r, dout, n_out)) / (2.0 * e);
		at[i] = keep;
		test_close(what, got + i, &want, 1, 1e-5);
	}
}

static void one_attention(void *b, const struct cwp_attention *a, size_t step)
{
	uint64_t seed = a->heads * 100 + a->head_dim + a->window;
	size_t tokens = a->sequences.start[a->sequences.count],
	       nq = tokens * a->heads * a->head_dim;
	size_t nk = tokens * a->kv_heads * a->head_dim;
	float *q = test_normal(&seed, nq, 1.0F), *k = test_normal(&seed, nk, 1.0F),
	      *v = test_normal(&seed, nk, 1.0F);
	float *dout = test_normal(&seed, nq, 1.0F), *out = test_filled(nq, 9.0F);
	float *lse = test_filled(tokens * a->heads, 9.0F), *dq = test_filled(nq, 9.0F);
	float *dk = test_filled(nk, 9.0F), *dv = test_filled(nk, 9.0F);
	struct reference r = {a, widened(q, nq), widened(k, nk), widened(v, nk), doubles(nq),
		doubles(tokens * a->heads), tokens};
	reference_run(&r);
	assert_int_equal(be->attention(b, a, q, k, v, out, lse), 0);
	test_close("attention", out, r.out, nq, 2e-6);
	test_close("lse", lse, r.lse, tokens * a->heads, 2e-6);
	assert_int_equal(be->attention_backward(b, a, q, k, v, out, lse, dout, dq, dk, dv), 0);
	differences(&r, "dq", dout, nq, r.q, dq, nq, step);
	differences(&r, "dk", dout, nq, r.k, dk, nk, step);
	differences(&r, "dv", dout, nq, r.v, dv, nk, step);
	float *p[] = {q, k, v, dout, out, lse, dq, dk, dv};
	for (size_t i = 0; i < 9; i++) {
		free(p[i]);
	}
	double *w[] = {r.q, r.k, r.v, r.out, r.lse};
	for (size_t i = 0; i < 5; i++) {
		free(w[i]);
	}
}

static void test_attention(void **state)
{
	(void)state;
	static const uint64_t some[] = {0, 7, 7, 8, 19}, lengthy[] = {0, 3, 150};
	struct test_host h;
	void *b = test_open(&h, 2);
	struct cwp_attention a = {.size = sizeof(a),
		.heads = 6,
		.kv_heads = 2,
		.head_dim = 10,
		.scale = 0.4F,
		.sequences = {4, some}};
	one_attention(b, &a, 1);
	a.window = 3;
	one_attention(b, &a, 3);
	a.softcap = 1.5F;
	one_attention(b, &a, 3);
	a.window = 0;
	one_attention(b, &a, 3);
	a = (struct cwp_attention){.size = sizeof(a),
		.heads = 2,
		.kv_heads = 1,
		.head_dim = 16,
		.scale = 0.25F,
		.sequences = {2, lengthy}};
	one_attention(b, &a, 149);
	a.window = 70;
	one_attention(b, &a, 149);
	a.head_dim = 256;
	a.scale = 0.0625F;
	one_attention(b, &a, 9973);
	be->close(b);
}

static void test_decode(void **state)
{
	(void)state;
	enum { LENGTH = 130 };
	struct test_host h;
	void *b = test_open(&h, 2);
	for (uint32_t window = 0; window <= 200; window += 50) {
		uint64_t seed = window;
		const uint64_t start[] = {0, LENGTH};
		struct cwp_attention a = {.size = sizeof(a),
			.heads = 4,
			.kv_heads = 2,
			.head_dim = 20,
			.window = window,
			.scale = 0.3F,
			.softcap = window == 50 ? 2.0F : 0.0F,
			.sequences = {1, start}};
		size_t nq = (size_t)LENGTH * 80, nk = (size_t)LENGTH * 40;
		float *q = test_normal(&seed, nq, 1.0F), *k = test_normal(&seed, nk, 1.0F);
		float *v = test_normal(&seed, nk, 1.0F), out[80];
		struct reference r = {&a, widened(q, nq), widened(k, nk), widened(v, nk),
			doubles(nq), doubles((size_t)LENGTH * 4), LENGTH};
		reference_run(&r);
		assert_int_equal(be->attention_decode(b, &a, q + nq - 80, k, v, LENGTH, out), 0);
		test_close("attention_decode", out, r.out + nq - 80, 80, 2e-6);
		float *p[] = {q, k, v};
		for (size_t i = 0; i < 3; i++) {
			free(p[i]);
		}
		double *w[] = {r.q, r.k, r.v, r.out, r.lse};
		for (size_t i = 0; i < 5; i++) {
			free(w[i]);
		}
	}
	be->close(b);
}

struct xent {
	float max[8], target_logit[8], best[8];
	double sum[8];
	uint32_t best_token[8];
};

static void run_slices(void *b, struct xent *x, const float *logits, uint64_t ld,
	const uint32_t *target, const uint32_t *bounds, size_t count)
{
	assert_int_equal(
		be->xent_begin(b, 8, x->max, x->sum, x->target_logit, x->best, x->best_token), 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(be->xent_slice(b, logits + bounds[i], 8, ld,
					 bounds[i + 1] - bounds[i], bounds[i], target, x->max,
					 x->sum, x->target_logit, x->best, x->best_token),
			0);
	}
}

static void test_xent(void **state)
{
	(void)state;
	enum { VOCABULARY = 1003, LD = 1010 };
	static const uint32_t bounds[] = {0, 301, 302, 1003},
			      target[8] = {0, 300, 301, 302, 1002, 5, 6, 7};
	static const float weight[8] = {1.0F, -0.5F, 0.0F, 2.0F, 1.0F, 1.0F, 1.0F, 1.0F};
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 11;
	float *logits = test_normal(&seed, (size_t)8 * LD, 5.0F),
	      *gradient = test_filled((size_t)8 * LD, 0.0F);
	logits[(size_t)5 * LD + 400] = logits[(size_t)5 * LD + 900] =
		60.0F; /* equal ones: the first counts */
	logits[(size_t)6 * LD + 17] = -INFINITY;
	for (size_t i = 0; i < VOCABULARY; i++) {
		logits[(size_t)7 * LD + i] *= 1e6F;
	}
	struct xent x;
	double lse[8];
	run_slices(b, &x, logits, LD, target, bounds, 3);
	for (size_t t = 0; t < 8; t++) {
		const float *row = logits + t * LD;
		size_t best = 0;
		double sum = 0.0;
		for (size_t i = 1; i < VOCABULARY; i++) {
			best = row[i] > row[best] ? i : best;
		}
		for (size_t i = 0; i < VOCABULARY; i++) {
			sum += exp((double)row[i] - (double)row[best]);
		}
		assert_int_equal(x.best_token[t], best);
		assert_true(x.max[t] == row[best] && x.best[t] == row[best]);
		assert_true(x.target_logit[t] == row[target[t]]);
		assert_true(fabs(x.sum[t] / sum - 1.0) < 1e-6);
		lse[t] = (double)x.max[t] + log(x.sum[t]);
	}
	memcpy(gradient, logits, (size_t)8 * LD * sizeof(float));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(be->xent_backward(b, gradient + bounds[i], 8, LD,
					 bounds[i + 1] - bounds[i], bounds[i], target, weight, lse),
			0);
	}
	for (size_t t = 0; t < 8; t++) {
		for (size_t i = 0; i < VOCABULARY; i++) {
			double p = exp((double)logits[t * LD + i] - lse[t]) -
				   (i == target[t] ? 1.0 : 0.0);
			double want = (double)weight[t] * p;
			test_close("xent_backward", &gradient[t * LD + i], &want, 1, 1e-6);
		}
	}
	/* A NaN must not pass unseen. */
	logits[LD + 700] = NAN;
	run_slices(b, &x, logits, LD, target, bounds, 3);
	assert_true(isnan(x.sum[1]) && !isnan(x.sum[0]) && !isnan(x.sum[2]));
	free(logits);
	free(gradient);
	be->close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attention),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_xent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	if (getenv("CWP_VALGRIND")) {
		printf("skipped: finite differences take minutes under valgrind; the sanitizers look at this memory\n");
		return 77;
	}
	return test_each_tier(group) != 0;
}
