/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory of a backend and what runs beside its operations: loads by another thread, fetches, sends; and that no operation
 * multiplies a copy of what another one has written since. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/quantizer.h>

#include "tests/cuda/pair.h"

static int same_bytes(const void *a, const void *b, size_t bytes)
{
	return memcmp(a, b, bytes) == 0;
}

static void test_memory(void **state)
{
	(void)state;
	enum { N = 64 };
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	float out[N], back[N];
	uint64_t total = 0, left = 0;
	assert_null(be->alloc(b, SIZE_MAX));
	assert_null(be->alloc(b, SIZE_MAX / 2));
	void *p = be->alloc(b, 1), *q = be->alloc(b, 65), *r = be->alloc(b, (size_t)5 << 20);
	assert_true(p && q && r && p != q);
	assert_int_equal((uintptr_t)p % 64 + (uintptr_t)q % 64 + (uintptr_t)r % 64, 0);
	for (int i = 0; i < N; i++) {
		out[i] = (float)i;
	}
	assert_int_equal(be->upload(b, r, out, sizeof(out)), 0);
	assert_int_equal(be->download(b, back, r, sizeof(back)), 0);
	assert_memory_equal(out, back, sizeof(out));
	/* Any offset and any number of bytes. */
	assert_int_equal(be->upload(b, (char *)r + 3, out, 5), 0);
	assert_int_equal(be->zero(b, (char *)r + 9, 3), 0);
	assert_int_equal(be->copy(b, (char *)r + 301, (char *)r + 1, 7), 0);
	assert_int_equal(be->download(b, back, r, sizeof(back)), 0);
	memcpy((char *)out + 3, (char[5]){0, 0, 0, 0, 0}, 5); /* 0.0F and the first byte of 1.0F */
	memset((char *)out + 9, 0, 3);
	assert_memory_equal(out, back, sizeof(out));
	assert_int_equal(be->memory(b, &total, &left), 0);
	assert_true(left <= total && (total > 0 || be->flags & CWP_BACKEND_HOST_MEMORY));
	be->free(b, p);
	be->free(b, q);
	be->free(b, r);
	be->free(b, NULL);
	void *h = be->host_alloc(b, 1000);
	assert_true(h && (uintptr_t)h % 64 == 0);
	memset(h, 1, 1000);
	be->host_free(b, h);
	be->host_free(b, NULL);
}

/* What is allocated later does not overlap what is still held, in whatever order pieces are given back. */
static void test_pieces(void **state)
{
	(void)state;
	enum { PIECES = 40, STEPS = 400 };
	const struct cwp_backend *be = pair.ops;
	struct {
		uint32_t *d;
		size_t words;
		uint32_t mark;
	} piece[PIECES] = {{NULL, 0, 0}};
	uint32_t *host = malloc(40000 * sizeof(*host));
	uint64_t seed = 4;
	assert_non_null(host);
	for (uint32_t i = 0; i < STEPS; i++) {
		size_t k = test_random(&seed) % PIECES;
		if (piece[k].d) {
			assert_int_equal(be->download(pair.b, host, piece[k].d, piece[k].words * 4), 0);
			for (size_t w = 0; w < piece[k].words; w++) {
				assert_int_equal(host[w], piece[k].mark);
			}
			be->free(pair.b, piece[k].d);
		}
		piece[k].words = 1 + test_random(&seed) % 40000;
		piece[k].mark = i + 1;
		piece[k].d = be->alloc(pair.b, piece[k].words * 4);
		assert_non_null(piece[k].d);
		for (size_t w = 0; w < piece[k].words; w++) {
			host[w] = i + 1;
		}
		assert_int_equal(be->upload(pair.b, piece[k].d, host, piece[k].words * 4), 0);
	}
	for (size_t k = 0; k < PIECES; k++) {
		be->free(pair.b, piece[k].d);
	}
	free(host);
}

enum { WIDTH = 160, TOKENS = 48, LAYERS = 12 };

enum { LOADERS = 3 };

struct loader {
	float *d_to;
	const void *from;
	uint32_t dtype;
	uint64_t first; /* piece; the others are LOADERS further */
	int rc;
};

/* In pieces, as a file comes. */
static void *load(void *p)
{
	struct loader *l = p;
	enum { STEP = 1000 };
	size_t each = l->dtype == CWP_F32 ? 4 : 2;
	for (uint64_t at = l->first * STEP; l->rc == 0 && at < WIDTH * WIDTH; at += LOADERS * STEP) {
		uint64_t n = WIDTH * WIDTH - at < STEP ? WIDTH * WIDTH - at : STEP;
		char piece[STEP * 4];
		memcpy(piece, (const char *)l->from + at * each, n * each);
		l->rc = pair.ops->load(pair.b, l->d_to + at, piece, l->dtype, n);
		memset(piece, 0xFF, sizeof(piece)); /* free again when load returns */
	}
	return NULL;
}

/* Several threads, each with its share. */
struct loading {
	struct loader part[LOADERS];
	pthread_t thread[LOADERS];
};

static void loading_begin(struct loading *g, float *d_to, const void *from)
{
	assert_int_equal(pair.ops->load_begin(pair.b), 0);
	for (uint64_t i = 0; i < LOADERS; i++) {
		g->part[i] = (struct loader){.d_to = d_to, .from = from, .dtype = CWP_BF16, .first = LOADERS - 1 - i};
		assert_int_equal(pthread_create(&g->thread[i], NULL, load, &g->part[i]), 0);
	}
}

static void loading_end(struct loading *g)
{
	for (int i = 0; i < LOADERS; i++) {
		assert_int_equal(pthread_join(g->thread[i], NULL), 0);
		assert_int_equal(g->part[i].rc, 0);
	}
	assert_int_equal(pair.ops->load_wait(pair.b), 0);
}

struct chain {
	uint16_t *weights[LAYERS];   /* BF16 [WIDTH, WIDTH] */
	float *d_w[2], *d_x[2], *d_y;
	float *fetched[LAYERS];      /* of host_alloc */
};

static void chain_new(struct chain *c)
{
	uint64_t seed = 77;
	for (int l = 0; l < LAYERS; l++) {
		float *w = pair_normal(&seed, WIDTH * WIDTH, 0.08F);
		c->weights[l] = malloc(WIDTH * WIDTH * sizeof(uint16_t));
		c->fetched[l] = pair.ops->host_alloc(pair.b, TOKENS * WIDTH * sizeof(float));
		assert_true(c->weights[l] && c->fetched[l]);
		assert_int_equal(cpu_backend.narrow(pair.reference, c->weights[l], CWP_BF16, w, WIDTH * WIDTH), 0);
		free(w);
	}
	for (int i = 0; i < 2; i++) {
		c->d_w[i] = pair.ops->alloc(pair.b, WIDTH * WIDTH * sizeof(float));
		c->d_x[i] = pair.ops->alloc(pair.b, TOKENS * WIDTH * sizeof(float));
		assert_true(c->d_w[i] && c->d_x[i]);
	}
}

static void chain_free(struct chain *c)
{
	for (int l = 0; l < LAYERS; l++) {
		free(c->weights[l]);
		pair.ops->host_free(pair.b, c->fetched[l]);
	}
	for (int i = 0; i < 2; i++) {
		pair.ops->free(pair.b, c->d_w[i]);
		pair.ops->free(pair.b, c->d_x[i]);
	}
}

static int product(float *d_x, float *d_w, float *d_y)
{
	return pair.ops->matmul(pair.b, 0, 1, TOKENS, WIDTH, WIDTH, d_x, WIDTH, d_w, WIDTH, 0, d_y, WIDTH);
}

/* Layers one after another, nothing beside them. */
static void run_plainly(struct chain *c, const float *x, float *const *ret)
{
	float *w = malloc(WIDTH * WIDTH * sizeof(*w));
	assert_non_null(w);
	assert_int_equal(pair.ops->upload(pair.b, c->d_x[0], x, TOKENS * WIDTH * sizeof(*x)), 0);
	for (int l = 0; l < LAYERS; l++) {
		assert_int_equal(cpu_backend.convert(pair.reference, w, c->weights[l], CWP_BF16, WIDTH * WIDTH), 0);
		assert_int_equal(pair.ops->upload(pair.b, c->d_w[0], w, WIDTH * WIDTH * sizeof(*w)), 0);
		assert_int_equal(product(c->d_x[l & 1], c->d_w[0], c->d_x[(l + 1) & 1]), 0);
		assert_int_equal(pair.ops->download(pair.b, ret[l], c->d_x[(l + 1) & 1], TOKENS * WIDTH * sizeof(float)), 0);
	}
	free(w);
}

/* The next layer's weights come while this one's products run, and each result goes out meanwhile. */
static void run_beside(struct chain *c, float *x)
{
	const struct cwp_backend *be = pair.ops;
	struct loading next;
	loading_begin(&next, c->d_w[0], c->weights[0]);
	loading_end(&next);
	assert_int_equal(be->send(pair.b, c->d_x[0], x, TOKENS * WIDTH * sizeof(float)), 0);
	assert_int_equal(be->send_wait(pair.b), 0);
	for (int l = 0; l < LAYERS; l++) {
		loading_begin(&next, c->d_w[(l + 1) & 1], c->weights[(l + 1) % LAYERS]);
		assert_int_equal(product(c->d_x[l & 1], c->d_w[l & 1], c->d_x[(l + 1) & 1]), 0);
		if (l > 0) { /* the next layer overwrites what the fetch of the one before reads */
			assert_int_equal(be->fetch_wait(pair.b), 0);
		}
		assert_int_equal(be->fetch(pair.b, c->fetched[l], c->d_x[(l + 1) & 1], TOKENS * WIDTH * sizeof(float)), 0);
		loading_end(&next);
	}
	assert_int_equal(be->fetch_wait(pair.b), 0);
	assert_int_equal(be->sync(pair.b), 0);
}

static void test_beside(void **state)
{
	(void)state;
	struct chain c;
	uint64_t seed = 5;
	float *x = pair_normal(&seed, TOKENS * WIDTH, 1.0F), *want[LAYERS];
	float *pinned = pair.ops->host_alloc(pair.b, TOKENS * WIDTH * sizeof(float));
	assert_non_null(pinned);
	memcpy(pinned, x, TOKENS * WIDTH * sizeof(float));
	chain_new(&c);
	for (int l = 0; l < LAYERS; l++) {
		want[l] = test_filled(TOKENS * WIDTH, 0.0F);
	}
	run_plainly(&c, x, want);
	for (int round = 0; round < 5; round++) {
		run_beside(&c, pinned);
		for (int l = 0; l < LAYERS; l++) {
			if (!same_bytes(c.fetched[l], want[l], TOKENS * WIDTH * sizeof(float))) {
				fail_msg("round %d: layer %d differs from the same without anything beside it", round, l);
			}
			memset(c.fetched[l], 0, TOKENS * WIDTH * sizeof(float));
		}
	}
	assert_int_equal(pair.ops->load_begin(pair.b), 0);
	assert_int_not_equal(pair.ops->load(pair.b, c.d_w[0], x, 77, 4), 0);
	assert_int_equal(pair.ops->load_wait(pair.b), 0);
	chain_free(&c);
	for (int l = 0; l < LAYERS; l++) {
		free(want[l]);
	}
	pair.ops->host_free(pair.b, pinned);
	free(x);
}

/* Ways to write N x N numbers of d_x, or some of them. d_other holds N x N more. */
enum { N = 64, WAYS = 30 };

struct written {
	float *d_x, *d_other, *d_small; /* d_small: N x N, for what else an operation wants */
	uint32_t *d_index;
	const float *host;
};

static int write_one(int how, const struct written *w)
{
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	static const uint64_t start[] = {0, N};
	struct cwp_attention a = {.size = sizeof(a), .heads = 2, .kv_heads = 2, .head_dim = N / 2, .scale = 0.2F, .sequences = {1, start}};
	const struct cwp_activation token = {.size = sizeof(token), .kind = CWP_ACT_INT8_TOKEN};
	const struct cwp_grad_stats s = {.size = sizeof(s), .rows = N, .cols = N, .samples = {1, start}, .d_x = w->d_other, .ldx = N,
		.d_dy = w->d_other, .lddy = N, .d_sq = w->d_x};
	float *x = w->d_x, *o = w->d_other, *t = w->d_small;
	int rc = 0;
	switch (how) {
	case 0: return be->upload(b, x + 5, w->host, N * sizeof(float));
	case 1: return be->zero(b, x + N, N * sizeof(float));
	case 2: return be->copy(b, x + 3, o, N * sizeof(float));
	case 3: return be->add(b, x, o, N * N);
	case 4: return be->add_bias(b, x, o, N, N);
	case 5: return be->convert(b, x, o, CWP_BF16, N * N);
	case 6: return be->matmul(b, 0, 0, N, N, N, o, N, o, N, 0, x, N);
	case 7: return be->rmsnorm(b, o, o, 0.0F, 1e-5F, N, N, x, t);
	case 8: return be->rmsnorm_backward(b, o, o, o, 0.0F, o, N, N, 1, x, NULL, NULL);
	case 9: return be->rope(b, x, N, N, 1, N, N, o, o, w->d_index, 0);
	case 10: return be->attention(b, &a, o, o, o, x, t);
	case 11: return be->attention_backward(b, &a, o, o, o, o, o, o, x, t, t + N * N);
	case 12: return be->attention_backward(b, &a, o, o, o, o, o, o, t, x, t + N * N);
	case 13: return be->attention_backward(b, &a, o, o, o, o, o, o, t, t + N * N, x);
	case 14: return be->attention_decode(b, &a, o, o, o, N, x);
	case 15: return be->glu(b, CWP_GLU_SILU, o, o, N * N, x);
	case 16: return be->glu_backward(b, CWP_GLU_SILU, o, o, o, N * N, x, t);
	case 17: return be->glu_backward(b, CWP_GLU_SILU, o, o, o, N * N, t, x);
	case 18: return be->xent_backward(b, x, N, N, N, 0, w->d_index, o, (const double *)(const void *)o);
	case 19: return be->grad_stats(b, &s);
	case 20: return be->fake_quant(b, &token, o, N, N, x);
	case 21: return be->gather_rows(b, o, NULL, o, N, N, x);
	case 22: return be->scatter_rows(b, o, w->d_index, NULL, N, N, x);
	case 23: return be->dot_rows(b, o, o, N, N, x);
	case 24: return be->softcap(b, x, N * N, 0.5F);
	case 25: return be->softcap_backward(b, x, o, N * N, 30.0F);
	case 26:
		rc = be->load_begin(b);
		rc = rc ? rc : be->load(b, x, w->host, CWP_F32, N);
		return rc ? rc : be->load_wait(b);
	case 27:
		rc = be->send(b, x, w->host, N * sizeof(float));
		return rc ? rc : be->send_wait(b);
	case 28: return be->rmsnorm_backward(b, o, o, o, 0.0F, o, N, N, 0, t, &(struct cwp_sequences){1, start}, x);
	case 29: return be->narrow(b, x, CWP_BF16, o, N);
	default: return 1;
	}
}

/* x is multiplied, written, multiplied again: the second product is that of what x holds now. */
static void test_no_stale_copies(void **state)
{
	(void)state;
	const size_t bytes = N * N * sizeof(float);
	uint64_t seed = 8;
	float *x = pair_normal(&seed, N * N, 1.0F), *other = pair_normal(&seed, N * N, 1.0F), *got = test_filled(N * N, 0.0F),
	      *want = test_filled(N * N, 0.0F), *host = pair.ops->host_alloc(pair.b, bytes);
	uint32_t index[N];
	struct written w = {pair.ops->alloc(pair.b, bytes), pair.ops->alloc(pair.b, bytes), pair.ops->alloc(pair.b, 2 * bytes),
		pair.ops->alloc(pair.b, sizeof(index)), host};
	float *d_c = pair.ops->alloc(pair.b, bytes), *d_fresh = pair.ops->alloc(pair.b, bytes);
	assert_true(w.d_x && w.d_other && w.d_small && w.d_index && d_c && d_fresh && host);
	memcpy(host, other, bytes);
	for (uint32_t i = 0; i < N; i++) {
		index[i] = i;
	}
	assert_int_equal(pair.ops->upload(pair.b, w.d_index, index, sizeof(index)), 0);
	assert_int_equal(pair.ops->upload(pair.b, w.d_other, other, bytes), 0);
	assert_int_equal(pair.ops->zero(pair.b, w.d_small, 2 * bytes), 0);
	for (int how = 0; how < WAYS; how++) {
		assert_int_equal(pair.ops->upload(pair.b, w.d_x, x, bytes), 0);
		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(pair.ops->matmul(pair.b, 0, 1, N, N, N, w.d_x, N, w.d_x, N, 0, d_c, N), 0);
		}
		int rc = write_one(how, &w);
		if (rc) {
			fail_msg("way %d: code %d: %s", how, rc, pair.host.failure);
		}
		assert_int_equal(pair.ops->matmul(pair.b, 0, 1, N, N, N, w.d_x, N, w.d_x, N, 0, d_c, N), 0);
		assert_int_equal(pair.ops->download(pair.b, got, w.d_x, bytes), 0);
		assert_int_equal(pair.ops->upload(pair.b, d_fresh, got, bytes), 0);
		assert_int_equal(pair.ops->download(pair.b, got, d_c, bytes), 0);
		assert_int_equal(pair.ops->matmul(pair.b, 0, 1, N, N, N, d_fresh, N, d_fresh, N, 0, d_c, N), 0);
		assert_int_equal(pair.ops->download(pair.b, want, d_c, bytes), 0);
		if (!same_bytes(got, want, bytes)) {
			fail_msg("way %d to write: the product after it is of what was there before", how);
		}
	}
	assert_int_equal(pair.ops->sync(pair.b), 0);
	void *device[] = {w.d_x, w.d_other, w.d_small, w.d_index, d_c, d_fresh};
	for (size_t i = 0; i < sizeof(device) / sizeof(*device); i++) {
		pair.ops->free(pair.b, device[i]);
	}
	pair.ops->host_free(pair.b, host);
	float *memory[] = {x, other, got, want};
	for (size_t i = 0; i < 4; i++) {
		free(memory[i]);
	}
}

struct beside {
	uint64_t rows, cols;
	float *d_x, *d_in, *d_more, *d_out;
	uint32_t *d_index;
};

/* The operations that may round what they write for the product that comes; those that write d_x as a whole. */
static int write_whole(int how, const struct beside *s)
{
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	uint64_t rows = s->rows, cols = s->cols, n = rows * cols, start[] = {0, rows / 2, rows};
	uint32_t half = (uint32_t)(cols / 2), heads = cols / 2 % 32 == 0 && cols / 2 / 32 < 1000 ? half / 32 : 0;
	struct cwp_attention a = {.size = sizeof(a), .heads = heads, .kv_heads = heads, .head_dim = 64, .scale = 0.1F, .sequences = {2, start}};
	float *x = s->d_x, *in = s->d_in, *more = s->d_more;
	int rc = 0;
	switch (how) {
	case 0: return be->rmsnorm(b, in, more, 0.5F, 1e-5F, rows, cols, x, s->d_out);
	case 1: return be->rmsnorm_backward(b, in, more, in, 0.0F, more, rows, cols, 0, x, NULL, NULL);
	case 2:
		rc = be->copy(b, x, more, n * sizeof(float));
		return rc ? rc : be->rmsnorm_backward(b, in, more, in, 0.0F, more, rows, cols, 1, x, NULL, NULL);
	case 3: return be->glu(b, CWP_GLU_SILU, in, more, n, x);
	case 4: return be->glu(b, CWP_GLU_GELU_TANH, in, more, n, x);
	case 5: return be->glu_backward(b, CWP_GLU_SILU, in, more, in, n, x, s->d_out);
	case 6: return be->glu_backward(b, CWP_GLU_GELU_TANH, in, more, in, n, s->d_out, x);
	case 7:
		rc = be->copy(b, x, more, n * sizeof(float));
		return rc ? rc : be->add(b, x, in, n);
	case 8:
		rc = be->copy(b, x, more, n * sizeof(float));
		return rc ? rc : be->rope(b, x, rows, cols, 1, (uint32_t)cols, (uint32_t)cols, in, more, s->d_index, 1);
	case 9: return be->gather_rows(b, in, s->d_index, more, rows, cols, x);
	case 10: return heads ? be->attention(b, &a, in, more, in, x, s->d_out) : be->copy(b, x, in, n * sizeof(float));
	default:
		rc = be->copy(b, x, in, n * sizeof(float));
		return rc ? rc : be->xent_backward(b, x, rows, cols, cols, 3, s->d_index, more, (const double *)(const void *)more);
	}
}

static int thin_product(const struct beside *s, const float *d_x)
{
	return pair.ops->matmul(pair.b, 0, 1, s->rows, 8, s->cols, d_x, s->cols, s->d_more, s->cols, 0, s->d_out, 8);
}

/* Once a product asked for what an operation writes, the operation may round it itself: to the same numbers. */
static void test_rounded_by_who_writes(void **state)
{
	(void)state;
	enum { WHOLE = 12 };
	static const uint64_t shape[][2] = {{40, 64}, {20, 576}, {33, 3584}, {18, 16392}, {2, 96}};
	for (size_t k = 0; k < sizeof(shape) / sizeof(*shape); k++) {
		struct beside s = {.rows = shape[k][0], .cols = shape[k][1]};
		uint64_t n = s.rows * s.cols, seed = 3 + k, room = n > 8 * s.cols ? n : 8 * s.cols;
		size_t bytes = n * sizeof(float);
		float *in = pair_normal(&seed, n, 1.0F), *more = pair_normal(&seed, room, 1.0F), *x = test_filled(n, 0.0F), *got = test_filled(s.rows * 8, 0.0F),
		      *want = test_filled(s.rows * 8, 0.0F), *d_fresh = pair.ops->alloc(pair.b, bytes);
		for (uint64_t i = 0; i < room; i++) {
			more[i] = fabsf(more[i]) + 0.01F; /* some of it are logarithms of sums and deviations */
		}
		s.d_x = pair.ops->alloc(pair.b, bytes);
		s.d_in = pair.ops->alloc(pair.b, bytes);
		s.d_more = pair.ops->alloc(pair.b, room * sizeof(float));
		s.d_out = pair.ops->alloc(pair.b, bytes + 8 * s.rows * sizeof(float));
		s.d_index = pair.ops->alloc(pair.b, s.rows * sizeof(uint32_t));
		assert_true(s.d_x && s.d_in && s.d_more && s.d_out && s.d_index && d_fresh);
		assert_int_equal(pair.ops->upload(pair.b, s.d_in, in, bytes), 0);
		assert_int_equal(pair.ops->upload(pair.b, s.d_more, more, room * sizeof(float)), 0);
		assert_int_equal(pair.ops->zero(pair.b, s.d_index, s.rows * sizeof(uint32_t)), 0);
		for (int how = 0; how < WHOLE; how++) {
			for (int round = 0; round < 3; round++) {
				int rc = write_whole(how, &s);
				rc = rc ? rc : thin_product(&s, s.d_x);
				if (rc) {
					fail_msg("way %d: code %d: %s", how, rc, pair.host.failure);
				}
				assert_int_equal(pair.ops->download(pair.b, got, s.d_out, s.rows * 8 * sizeof(float)), 0);
				assert_int_equal(pair.ops->download(pair.b, x, s.d_x, bytes), 0);
				assert_int_equal(pair.ops->upload(pair.b, d_fresh, x, bytes), 0);
				assert_int_equal(thin_product(&s, d_fresh), 0);
				assert_int_equal(pair.ops->download(pair.b, want, s.d_out, s.rows * 8 * sizeof(float)), 0);
				if (!same_bytes(got, want, s.rows * 8 * sizeof(float))) {
					fail_msg("[%" PRIu64 ", %" PRIu64 "], way %d, round %d: the product is not that of what was written", s.rows, s.cols, how, round);
				}
			}
		}
		void *device[] = {s.d_x, s.d_in, s.d_more, s.d_out, s.d_index, d_fresh};
		for (size_t i = 0; i < sizeof(device) / sizeof(*device); i++) {
			pair.ops->free(pair.b, device[i]);
		}
		float *memory[] = {in, more, x, got, want};
		for (size_t i = 0; i < 5; i++) {
			free(memory[i]);
		}
	}
}

/* A backend of its own that takes its memory at once: all that fits it, and no more. */
static void test_reserve(void **state)
{
	(void)state;
	enum { TOKENS_MOST = 512, COLUMNS = 1024 };
	const struct cwp_backend *be = pair.ops;
	const struct cwp_backend_use use = {.size = sizeof(use), .weights = (uint64_t)COLUMNS * COLUMNS, .tokens = TOKENS_MOST, .width = COLUMNS,
		.sum = COLUMNS};
	const uint64_t mine = (uint64_t)64 << 20, start[] = {0, 100, TOKENS_MOST};
	struct test_host host;
	void *b = NULL;
	uint64_t total = 0, before = 0, reserved = 0, after = 0;
	if (be->flags & CWP_BACKEND_HOST_MEMORY) {
		assert_int_equal(be->reserve(pair.b, mine, &use), 0);
		return;
	}
	struct cwp_setting first = {.size = sizeof(first), .type = CWP_OPTION_ENUM, .string = pair.bf16 ? "bf16" : "f32"};
	test_host_init(&host, 2);
	assert_int_equal(be->open(&host.table, &first, NULL, &b), 0);
	uint64_t overhead = be->overhead(b, &use);
	assert_int_equal(be->memory(b, &total, &before), 0);
	assert_int_equal(be->reserve(b, 2 * total, &use), -ENOMEM);
	assert_int_equal(be->reserve(b, mine + overhead, &use), 0);
	assert_int_equal(be->memory(b, &total, &reserved), 0);
	float *d_x = be->alloc(b, mine / 4), *d_y = be->alloc(b, mine / 4), *d_z = be->alloc(b, mine / 4);
	assert_true(d_x && d_y && d_z);
	assert_null(be->alloc(b, mine));
	assert_int_equal(be->zero(b, d_x, mine / 4), 0);
	assert_int_equal(be->zero(b, d_y, mine / 4), 0);
	assert_int_equal(be->zero(b, d_z, mine / 4), 0);
	const struct cwp_grad_stats s = {.size = sizeof(s), .rows = COLUMNS, .cols = COLUMNS, .samples = {2, start}, .d_x = d_x, .ldx = COLUMNS,
		.d_dy = d_y, .lddy = COLUMNS, .d_sum = d_z, .d_sq = d_z + (size_t)COLUMNS * COLUMNS};
	for (int flags = 0; flags < 4; flags++) {
		int ta = flags & 1, tb = flags >> 1;
		assert_int_equal(be->matmul(b, ta, tb, TOKENS_MOST, COLUMNS, TOKENS_MOST, d_x, TOKENS_MOST, d_y, tb ? TOKENS_MOST : COLUMNS, 0, d_z, COLUMNS),
			0);
	}
	assert_int_equal(be->matmul(b, 0, 1, TOKENS_MOST, COLUMNS, COLUMNS, d_x, COLUMNS, d_y, COLUMNS, 0, d_z, COLUMNS), 0);
	assert_int_equal(be->grad_stats(b, &s), 0);
	assert_int_equal(be->sync(b), 0);
	assert_int_equal(be->memory(b, &total, &after), 0);
	print_message("# overhead %" PRIu64 " MiB; reserving took %" PRId64 " MiB for %" PRIu64 ", operations then %" PRId64 " KiB\n", overhead >> 20,
		(int64_t)(before - reserved) >> 20, (mine + overhead) >> 20, (int64_t)(reserved - after) >> 10);
	/* Code of kernels is loaded on first use, outside of what the backend can count. */
	assert_true((int64_t)(reserved - after) < (int64_t)64 << 20);
	be->free(b, d_x);
	be->free(b, d_y);
	be->free(b, d_z);
	be->close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_beside),
		cmocka_unit_test(test_no_stale_copies),
		cmocka_unit_test(test_rounded_by_who_writes),
		cmocka_unit_test(test_reserve),
	};
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 1);
}
