/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The same bytes with 1, 2, 3, 5 and 16 threads, for each operation that is cut into pieces; and with
 * other work beside: what a sample gives does not depend on the samples around it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cwp/quantizer.h>

#include "tests/kernels/support.h"

enum {
	TOKENS = 330,
	HEADS = 4,
	KV_HEADS = 2,
	DIM = 24,
	COLS = HEADS * DIM,
	KV_COLS = KV_HEADS * DIM,
	OUT = 300,
	N = TOKENS * OUT
};

static const struct cwp_backend *const be = &cpu_backend;
static const uint64_t starts[] = {0, 1, 140, 140, 330};
static const struct cwp_sequences sequences = {4, starts};

struct data {
	float *x, *dy, *w, *k, *v; /* inputs */
	float *y, *z, *u, *t;      /* [N], results */
	double *d, *e;             /* [N] */
	uint32_t *token;           /* [N] */
};

static struct data data_new(void)
{
	uint64_t seed = 3;
	struct data d = {.x = test_normal(&seed, N, 1.0F),
		.dy = test_normal(&seed, N, 1.0F),
		.w = test_normal(&seed, N, 1.0F),
		.k = test_normal(&seed, N, 1.0F),
		.v = test_normal(&seed, N, 1.0F),
		.y = test_normal(&seed, N, 1.0F),
		.z = test_normal(&seed, N, 1.0F),
		.u = test_normal(&seed, N, 1.0F),
		.t = test_normal(&seed, N, 1.0F)};
	d.d = calloc(N, sizeof(double));
	d.e = calloc(N, sizeof(double));
	d.token = calloc(N, sizeof(uint32_t));
	assert_true(d.d && d.e && d.token);
	for (size_t i = 0; i < N; i++) {
		d.token[i] = (uint32_t)(i * 7 % OUT);
	}
	return d;
}

static void data_free(struct data *d)
{
	float *f[] = {d->x, d->dy, d->w, d->k, d->v, d->y, d->z, d->u, d->t};
	for (size_t i = 0; i < 9; i++) {
		free(f[i]);
	}
	free(d->d);
	free(d->e);
	free(d->token);
}

static int run_attention(void *b, struct data *d)
{
	struct cwp_attention a = {.size = sizeof(a),
		.heads = HEADS,
		.kv_heads = KV_HEADS,
		.head_dim = DIM,
		.window = 90,
		.scale = 0.2F,
		.sequences = sequences};
	float *out = d->y, *lse = d->z, *dq = d->u, *dk = d->t,
	      *dv = d->t + (size_t)TOKENS * KV_COLS;
	int rc = be->attention(b, &a, d->x, d->k, d->v, out, lse);
	return rc ? rc
		  : be->attention_backward(b, &a, d->x, d->k, d->v, out, lse, d->dy, dq, dk, dv);
}

static int run_decode(void *b, struct data *d)
{
	struct cwp_attention a = {.size = sizeof(a),
		.heads = HEADS,
		.kv_heads = KV_HEADS,
		.head_dim = DIM,
		.scale = 0.2F};
	return be->attention_decode(b, &a, d->x, d->k, d->v, TOKENS, d->y);
}

static int run_stats(void *b, struct data *d)
{
	struct cwp_grad_stats s = {.size = sizeof(s),
		.rows = 230,
		.cols = OUT,
		.samples = sequences,
		.d_x = d->x,
		.ldx = OUT,
		.d_dy = d->dy,
		.lddy = OUT,
		.d_sum = d->y,
		.d_abs = d->z,
		.d_sq = d->u};
	return be->grad_stats(b, &s);
}

static int run_products(void *b, struct data *d)
{
	int rc = be->matmul(b, 0, 1, TOKENS, OUT, OUT, d->x, OUT, d->w, OUT, 0, d->y, OUT);
	if (!rc) {
		rc = be->matmul(b, 1, 0, OUT, OUT, TOKENS, d->x, OUT, d->w, OUT, 1, d->z, OUT);
	}
	return rc ? rc : be->matmul(b, 0, 1, 1, OUT, OUT, d->x, OUT, d->w, OUT, 0, d->u, OUT);
}

static int run_norm(void *b, struct data *d)
{
	int rc = be->rmsnorm(b, d->x, d->w, 1.0F, 1e-5F, TOKENS, OUT, d->y, d->z);
	return rc ? rc
		  : be->rmsnorm_backward(b, d->dy, d->x, d->w, 1.0F, d->z, TOKENS, OUT, 1, d->u,
			    &sequences, d->t);
}

static int run_elements(void *b, struct data *d)
{
	int rc = be->glu(b, CWP_GLU_SILU, d->x, d->w, N, d->y);
	if (!rc) {
		rc = be->glu_backward(b, CWP_GLU_GELU_TANH, d->x, d->w, d->dy, N, d->z, d->u);
	}
	if (!rc) {
		rc = be->convert(b, d->t, d->x, CWP_F16, N);
	}
	if (!rc) {
		rc = be->add(b, d->y, d->x, N);
	}
	return rc ? rc : be->add_bias(b, d->y, d->w, TOKENS, OUT);
}

static int run_rows(void *b, struct data *d)
{
	for (size_t i = 0; i < TOKENS; i++) {
		d->token[i] %= TOKENS;
	}
	int rc = be->rope(b, d->y, TOKENS, OUT, HEADS, DIM, DIM, d->x, d->w, d->token, 0);
	if (!rc) {
		rc = be->act_stats(b, d->x, TOKENS, OUT, OUT, d->d, d->e, d->z);
	}
	if (!rc) {
		rc = be->act_abs(b, d->x, TOKENS, OUT, OUT, d->d);
	}
	const uint64_t start[] = {0, 3, 3, TOKENS};
	const struct cwp_activation a = {.size = sizeof(a), .kind = CWP_ACT_INT8_OUTLIER, .threshold = 2.0F,
		.sequences = {3, start}};
	return rc ? rc : be->fake_quant(b, &a, d->x, TOKENS, OUT, d->u);
}

static int run_xent(void *b, struct data *d)
{
	int rc = be->xent_begin(b, TOKENS, d->y, d->d, d->z, d->u, d->token + TOKENS);
	if (!rc) {
		rc = be->xent_slice(b, d->x, TOKENS, OUT, OUT, 0, d->token, d->y, d->d, d->z, d->u,
			d->token + TOKENS);
	}
	memcpy(d->t, d->x, N * sizeof(float));
	for (size_t i = 0; i < TOKENS; i++) {
		d->e[i] = (double)d->y[i] + log(d->d[i]);
	}
	return rc ? rc : be->xent_backward(b, d->t, TOKENS, OUT, OUT, 0, d->token, d->w, d->e);
}

static const struct {
	const char *name;
	int (*run)(void *b, struct data *d);
	const char *precision;
} operations[] = {{"attention", run_attention, "f32"}, {"attention_decode", run_decode, "f32"},
	{"grad_stats", run_stats, "f32"}, {"matmul", run_products, "f32"},
	{"grad_stats in bf16", run_stats, "bf16"}, {"matmul in bf16", run_products, "bf16"},
	{"rmsnorm", run_norm, "f32"}, {"elements", run_elements, "f32"}, {"rows", run_rows, "f32"},
	{"xent", run_xent, "f32"}};

static void same(
	const char *name, uint32_t threads, const struct data *got, const struct data *want)
{
	const void *g[] = {got->y, got->z, got->u, got->t, got->d, got->e, got->token};
	const void *w[] = {want->y, want->z, want->u, want->t, want->d, want->e, want->token};
	static const size_t size[] = {4, 4, 4, 4, 8, 8, 4};
	for (size_t i = 0; i < 7; i++) {
		if (memcmp(g[i], w[i], N * size[i]) != 0) {
			fail_msg("%s with %u threads: result %zu differs from that with 1", name,
				threads, i);
		}
	}
}

static void test_threads(void **state)
{
	(void)state;
	static const uint32_t threads[] = {1, 2, 3, 5, 5, 16};
	for (size_t o = 0; o < sizeof(operations) / sizeof(operations[0]); o++) {
		struct data want = data_new();
		for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
			struct test_host h;
			struct data got = data_new();
			void *b = test_open_precision(&h, threads[i], operations[o].precision);
			assert_int_equal(operations[o].run(b, i ? &got : &want), 0);
			be->close(b);
			if (i) {
				same(operations[o].name, threads[i], &got, &want);
			}
			data_free(&got);
		}
		data_free(&want);
	}
}

/* Sums over samples taken together are those taken one after another. */
static void sums_alike(const char *precision)
{
	struct test_host h;
	struct data together = data_new(), apart = data_new();
	void *b = test_open_precision(&h, 3, precision);
	struct cwp_grad_stats s = {.size = sizeof(s),
		.rows = 100,
		.cols = OUT,
		.samples = sequences,
		.d_x = together.x,
		.ldx = OUT,
		.d_dy = together.dy,
		.lddy = OUT,
		.d_sum = together.y};
	memset(together.y, 0, N * sizeof(float));
	memset(apart.y, 0, N * sizeof(float));
	assert_int_equal(be->grad_stats(b, &s), 0);
	for (size_t i = 0; i < 4; i++) {
		const uint64_t one[] = {0, starts[i + 1] - starts[i]};
		s.samples = (struct cwp_sequences){1, one};
		s.d_x = apart.x + starts[i] * OUT;
		s.d_dy = apart.dy + starts[i] * OUT;
		s.d_sum = apart.y;
		assert_int_equal(be->grad_stats(b, &s), 0);
	}
	assert_memory_equal(together.y, apart.y, (size_t)100 * OUT * sizeof(float));
	be->close(b);
	data_free(&together);
	data_free(&apart);
}

/* And attention of a sequence is the same wherever it stands in the pack. */
static void test_neighbours(void **state)
{
	(void)state;
	sums_alike("f32");
	sums_alike("bf16");
	if (test_has_plain_tiles()) {
		sums_alike(TEST_PLAIN_TILES);
	}
	struct test_host h;
	struct data together = data_new(), apart = data_new();
	void *b = test_open(&h, 3);
	struct cwp_attention a = {.size = sizeof(a),
		.heads = HEADS,
		.kv_heads = KV_HEADS,
		.head_dim = DIM,
		.scale = 0.2F,
		.sequences = sequences};
	const uint64_t one[] = {0, starts[4] - starts[3]};
	assert_int_equal(
		be->attention(b, &a, together.x, together.k, together.v, together.y, together.z),
		0);
	a.sequences = (struct cwp_sequences){1, one};
	assert_int_equal(
		be->attention(b, &a, apart.x + starts[3] * COLS, apart.k + starts[3] * KV_COLS,
			apart.v + starts[3] * KV_COLS, apart.y, apart.z),
		0);
	assert_memory_equal(together.y + starts[3] * COLS, apart.y, one[1] * COLS * sizeof(float));
	be->close(b);
	data_free(&together);
	data_free(&apart);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_neighbours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	if (getenv("CWP_VALGRIND")) {
		printf("skipped: threads take minutes under valgrind; the sanitizers look at this memory\n");
		return 77;
	}
	return test_each_tier(group) != 0;
}
