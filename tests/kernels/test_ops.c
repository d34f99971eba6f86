/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The backend's operations against plain references in f64: products, gradient statistics, norms,
 * rotary embedding, gated activations, rows and columns. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/backends/cpu/rounding.h"
#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;

static double *doubles(size_t n)
{
	double *x = calloc(n ? n : 1, sizeof(*x));
	assert_non_null(x);
	return x;
}

/* How products are looked at; all but the first round operands to BF16, here too. The last one is the same in all tiers, so
 * that it is looked at in one of them. */
static const char *const precisions[] = {"f32", "bf16", TEST_PLAIN_TILES};

static int ways(void)
{
	const char *tier = getenv("CWP_CPU");
	return test_has_plain_tiles() && tier && strcmp(tier, "avx512bf16") == 0 ? 3 : 2;
}

static double rounded(float x, int bf16)
{
	return (double)(bf16 ? bf16_rounded(x) : x);
}

static void one_product(void *b, int bf16, int ta, int tb, size_t m, size_t n, size_t k, int accumulate)
{
	uint64_t seed = m * 131 + n * 17 + k + (uint64_t)ta * 3 + (uint64_t)tb * 5;
	size_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 5;
	float *a = test_normal(&seed, (ta ? k : m) * lda, 1.0F),
	      *x = test_normal(&seed, (tb ? n : k) * ldb, 1.0F);
	float *c = test_normal(&seed, m * ldc, 1.0F);
	double *want = doubles(m * ldc);
	for (size_t i = 0; i < m; i++) {
		for (size_t j = 0; j < ldc; j++) {
			double v = j >= n || accumulate ? (double)c[i * ldc + j] : 0.0;
			for (size_t p = 0; j < n && p < k; p++) {
				v += rounded(a[ta ? p * lda + i : i * lda + p], bf16) *
				     rounded(x[tb ? j * ldb + p : p * ldb + j], bf16);
			}
			want[i * ldc + j] = v;
		}
	}
	assert_int_equal(be->matmul(b, ta, tb, m, n, k, a, lda, x, ldb, accumulate, c, ldc), 0);
	test_close("matmul", c, want, m * ldc, 1e-6 * (4.0 + 2.0 * sqrt((double)k)));
	free(a);
	free(x);
	free(c);
	free(want);
}

static void test_matmul(void **state)
{
	(void)state;
	static const size_t shapes[][3] = {{1, 1, 1}, {1, 577, 64}, {1, 3, 0}, {2, 300, 65},
		{5, 7, 3}, {17, 33, 129}, {64, 64, 64}, {257, 130, 31}, {130, 600, 70},
		{3, 1, 500}, {97, 40, 1100}, {20, 36, 2100}};
	for (int way = 0; way < ways(); way++) {
		int bf16 = way > 0;
		struct test_host h;
		void *b = test_open_precision(&h, 2, precisions[way]);
		for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
			for (int f = 0; f < 8; f++) {
				one_product(b, bf16, f & 1, f >> 1 & 1, shapes[s][0], shapes[s][1],
					shapes[s][2], f >> 2);
			}
		}
		be->close(b);
	}
}

/* Up to 16 rows: to the last bit what each gives alone. */
static void few_rows(const char *precision)
{
	static const size_t shapes[][2] = {{1, 1}, {3, 17}, {67, 12}, {130, 577}, {200, 64}};
	struct test_host h;
	void *b = test_open_precision(&h, 2, precision);
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		size_t n = shapes[s][0], k = shapes[s][1];
		uint64_t seed = 5;
		float *a = test_normal(&seed, 16 * k, 1.0F), *w = test_normal(&seed, n * k, 1.0F);
		float *alone = test_normal(&seed, 16 * n, 1.0F), *all = test_normal(&seed, 16 * n, 1.0F);
		for (size_t r = 0; r < 16; r++) {
			assert_int_equal(be->matmul(b, 0, 1, 1, n, k, a + r * k, k, w, k, 0,
						 alone + r * n, n), 0);
		}
		for (size_t m = 1; m <= 16; m++) {
			assert_int_equal(be->matmul(b, 0, 1, m, n, k, a, k, w, k, 0, all, n), 0);
			assert_memory_equal(all, alone, m * n * sizeof(float));
		}
		free(a);
		free(w);
		free(alone);
		free(all);
	}
	be->close(b);
}

static void test_few_rows(void **state)
{
	(void)state;
	few_rows("f32");
	few_rows("bf16");
}

/* More rows than 16, where the backend says so: likewise, whatever rows are beside. */
static void rows_alone(const char *precision)
{
	static const size_t shapes[][3] = {{300, 70, 530}, {120, 33, 2100}, {4200, 20, 40}};
	struct test_host h;
	void *b = test_open_precision(&h, 2, precision);
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]) && be->rows_alone(b); s++) {
		size_t all = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
		const size_t parts[][2] = {{0, 17}, {5, 18}, {11, all - 11}, {all - 31, 31}, {40, 57}};
		uint64_t seed = 6;
		float *a = test_normal(&seed, all * k, 1.0F), *w = test_normal(&seed, n * k, 1.0F);
		float *want = test_filled(all * n, 0.0F), *part = test_filled(all * n, 0.0F);
		assert_int_equal(be->matmul(b, 0, 1, all, n, k, a, k, w, k, 0, want, n), 0);
		for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			size_t first = parts[i][0], m = parts[i][1];
			assert_int_equal(be->matmul(b, 0, 1, m, n, k, a + first * k, k, w, k, 0, part, n), 0);
			assert_memory_equal(part, want + first * n, m * n * sizeof(float));
		}
		free(a);
		free(w);
		free(want);
		free(part);
	}
	be->close(b);
}

static void test_rows_alone(void **state)
{
	(void)state;
	for (int way = 0; way < ways(); way++) {
		rows_alone(precisions[way]);
	}
}

/* want [3 * rows * cols]: sum, sum of absolute values, sum of squares. */
static void stats_reference(const struct cwp_grad_stats *s, int bf16, double *want)
{
	size_t n = s->rows * s->cols;
	for (uint64_t i = 0; i < s->samples.count; i++) {
		for (size_t r = 0; r < s->rows; r++) {
			for (size_t c = 0; c < s->cols; c++) {
				double g = 0.0;
				for (uint64_t t = s->samples.start[i]; t < s->samples.start[i + 1];
					t++) {
					g += rounded(s->d_dy[t * s->lddy + r], bf16) *
					     rounded(s->d_x[t * s->ldx + c], bf16);
				}
				want[r * s->cols + c] += g;
				want[n + r * s->cols + c] += fabs(g);
				want[2 * n + r * s->cols + c] += g * g;
			}
		}
	}
}

static void one_grad_stats(
	void *b, int bf16, size_t rows, size_t cols, const uint64_t *start, size_t count, int wanted)
{
	uint64_t seed = rows + 1000 * cols + count;
	size_t tokens = start[count], n = rows * cols;
	struct cwp_grad_stats s = {.size = sizeof(s),
		.rows = rows,
		.cols = cols,
		.samples = {count, start},
		.ldx = cols + 2,
		.lddy = rows + 3};
	float *x = test_normal(&seed, tokens * s.ldx, 1.0F),
	      *dy = test_normal(&seed, tokens * s.lddy, 0.5F);
	float *out = test_normal(&seed, 3 * n, 1.0F);
	double *want = doubles(3 * n);
	s.d_x = x;
	s.d_dy = dy;
	stats_reference(&s, bf16, want);
	for (size_t i = 0; i < 3 * n; i++) {
		want[i] = (double)out[i] + (wanted >> (i / n) & 1 ? want[i] : 0.0);
	}
	s.d_sum = wanted & 1 ? out : NULL;
	s.d_abs = wanted & 2 ? out + n : NULL;
	s.d_sq = wanted & 4 ? out + 2 * n : NULL;
	assert_int_equal(be->grad_stats(b, &s), 0);
	test_close_scaled("grad_stats sum", out, want, n, 5e-6);
	test_close_scaled("grad_stats abs", out + n, want + n, n, 5e-6);
	test_close_scaled("grad_stats sq", out + 2 * n, want + 2 * n, n, 5e-6);
	free(x);
	free(dy);
	free(out);
	free(want);
}

static void test_grad_stats(void **state)
{
	(void)state;
	static const uint64_t some[] = {0, 5, 5, 23, 24, 24}, one[] = {0, 3},
			      deep[] = {0, 600, 1113}, none[] = {0, 0};
	for (int way = 0; way < ways(); way++) {
		int bf16 = way > 0;
		struct test_host h;
		void *b = test_open_precision(&h, 2, precisions[way]);
		one_grad_stats(b, bf16, 1, 1, some, 5, 7);
		one_grad_stats(b, bf16, 13, 33, some, 5, 7);
		one_grad_stats(b, bf16, 200, 270, one, 1, 7);
		one_grad_stats(b, bf16, 193, 257, some, 5, 4);
		one_grad_stats(b, bf16, 24, 64, some, 5, 1);
		one_grad_stats(b, bf16, 24, 64, some, 5, 2);
		one_grad_stats(b, bf16, 15, 40, deep, 2, 7);
		one_grad_stats(b, bf16, 15, 40, none, 1, 7);
		one_grad_stats(b, bf16, 15, 40, some, 5, 0);
		be->close(b);
	}
}

/* y, rstd and, for the loss sum(dy * y), the gradients of x and of w by sample. */
static void norm_reference(const float *x, const float *w, const float *dy, double offset,
	double eps, size_t rows, size_t cols, double *y, double *dx, double *dw_row)
{
	for (size_t t = 0; t < rows; t++) {
		const float *xt = x + t * cols, *dt = dy + t * cols;
		double sq = 0.0, dot = 0.0;
		for (size_t i = 0; i < cols; i++) {
			sq += (double)xt[i] * (double)xt[i];
			dot += (double)dt[i] * ((double)w[i] + offset) * (double)xt[i];
		}
		double r = 1.0 / sqrt(sq / (double)cols + eps);
		for (size_t i = 0; i < cols; i++) {
			double wi = (double)w[i] + offset;
			y[t * cols + i] = (double)xt[i] * r * wi;
			dx[t * cols + i] = r * (wi * (double)dt[i] -
						       (double)xt[i] * r * r * dot / (double)cols);
			dw_row[t * cols + i] = (double)dt[i] * (double)xt[i] * r;
		}
	}
}

static void one_norm(void *b, size_t rows, size_t cols, float offset, int accumulate)
{
	uint64_t seed = rows * 7 + cols;
	const uint64_t start[] = {0, rows / 3, rows / 3, rows};
	struct cwp_sequences samples = {3, start};
	size_t n = rows * cols;
	float *x = test_normal(&seed, n, 2.0F), *w = test_normal(&seed, cols, 1.0F),
	      *dy = test_normal(&seed, n, 1.0F);
	float *y = test_filled(n, 0.0F), *rstd = test_filled(rows, 0.0F),
	      *dx = test_normal(&seed, n, 1.0F);
	float *dw = test_filled(3 * cols, 7.0F);
	double *wy = doubles(n), *wdx = doubles(n), *wrow = doubles(n), *wdw = doubles(3 * cols);
	norm_reference(x, w, dy, (double)offset, 1e-5, rows, cols, wy, wdx, wrow);
	for (size_t s = 0; s < 3; s++) {
		for (uint64_t t = start[s]; t < start[s + 1]; t++) {
			for (size_t i = 0; i < cols; i++) {
				wdw[s * cols + i] += wrow[t * cols + i];
			}
		}
	}
	for (size_t i = 0; i < n; i++) {
		wdx[i] += accumulate ? (double)dx[i] : 0.0;
	}
	assert_int_equal(be->rmsnorm(b, x, w, offset, 1e-5F, rows, cols, y, rstd), 0);
	test_close("rmsnorm", y, wy, n, 2e-6);
	assert_int_equal(be->rmsnorm_backward(b, dy, x, w, offset, rstd, rows, cols, accumulate, dx,
				 &samples, dw),
		0);
	test_close("rmsnorm dx", dx, wdx, n, 1e-5);
	test_close("rmsnorm dw", dw, wdw, 3 * cols, 1e-5);
	float *p[] = {x, w, dy, y, rstd, dx, dw};
	double *q[] = {wy, wdx, wrow, wdw};
	for (size_t i = 0; i < 7; i++) {
		free(p[i]);
	}
	for (size_t i = 0; i < 4; i++) {
		free(q[i]);
	}
}

static void test_norm(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	one_norm(b, 1, 1, 0.0F, 0);
	one_norm(b, 9, 37, 1.0F, 1);
	one_norm(b, 150, 576, 0.0F, 0);
	one_norm(b, 3, 2049, 0.0F, 1);
	be->close(b);
}

static void test_rope(void **state)
{
	(void)state;
	enum { ROWS = 11, HEADS = 3, DIM = 26, LD = HEADS * DIM + 5, POSITIONS = 20 };
	struct test_host h;
	void *b = test_open(&h, 2);
	for (uint32_t rotary = 2; rotary <= DIM; rotary += 12) {
		uint64_t seed = rotary;
		uint32_t half = rotary / 2, position[ROWS];
		float *x = test_normal(&seed, (size_t)ROWS * LD, 1.0F),
		      *c = test_filled((size_t)POSITIONS * half, 0.0F);
		float *s = test_filled((size_t)POSITIONS * half, 0.0F);
		double want[ROWS * LD], before[ROWS * LD];
		for (size_t i = 0; i < (size_t)POSITIONS * half; i++) {
			c[i] = cosf((float)i);
			s[i] = sinf((float)i);
		}
		for (size_t i = 0; i < (size_t)ROWS * LD; i++) {
			before[i] = want[i] = (double)x[i];
		}
		for (size_t t = 0; t < ROWS; t++) {
			position[t] = (uint32_t)(test_random(&seed) % POSITIONS);
			for (size_t at = 0; at < (size_t)HEADS * half; at++) {
				size_t i = at % half, o = t * LD + at / half * DIM + i;
				double cs = (double)c[position[t] * half + i],
				       sn = (double)s[position[t] * half + i];
				want[o] = before[o] * cs - before[o + half] * sn;
				want[o + half] = before[o + half] * cs + before[o] * sn;
			}
		}
		assert_int_equal(
			be->rope(b, x, ROWS, LD, HEADS, DIM, rotary, c, s, position, 0), 0);
		test_close("rope", x, want, (size_t)ROWS * LD, 1e-6);
		assert_int_equal(
			be->rope(b, x, ROWS, LD, HEADS, DIM, rotary, c, s, position, 1), 0);
		test_close("rope back", x, before, (size_t)ROWS * LD, 2e-6);
		free(x);
		free(c);
		free(s);
	}
	be->close(b);
}

static double act(uint32_t kind, double x)
{
	return kind == CWP_GLU_SILU
		       ? x / (1.0 + exp(-x))
		       : 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

static void test_glu(void **state)
{
	(void)state;
	enum { N = 33001 };
	struct test_host h;
	void *b = test_open(&h, 2);
	for (uint32_t kind = CWP_GLU_SILU; kind <= CWP_GLU_GELU_TANH; kind++) {
		uint64_t seed = kind;
		float *gate = test_normal(&seed, N, 4.0F), *up = test_normal(&seed, N, 1.0F);
		float *dh = test_normal(&seed, N, 1.0F), *out = test_filled(N, 0.0F);
		double *want = doubles(N), *dgate = doubles(N), *dup = doubles(N);
		for (size_t i = 0; i < N; i++) {
			double g = (double)gate[i], u = (double)up[i], d = (double)dh[i], e = 1e-5;
			want[i] = act(kind, g) * u;
			dup[i] = act(kind, g) * d;
			dgate[i] = (act(kind, g + e) - act(kind, g - e)) / (2.0 * e) * u * d;
		}
		assert_int_equal(be->glu(b, kind, gate, up, N, out), 0);
		test_close("glu", out, want, N, 1e-6);
		/* In place, as the contract allows. */
		assert_int_equal(be->glu_backward(b, kind, gate, up, dh, N, gate, up), 0);
		test_close("glu dgate", gate, dgate, N, 2e-6);
		test_close("glu dup", up, dup, N, 1e-6);
		float *p[] = {gate, up, dh, out};
		double *q[] = {want, dgate, dup};
		for (size_t i = 0; i < 4; i++) {
			free(p[i]);
		}
		for (size_t i = 0; i < 3; i++) {
			free(q[i]);
		}
	}
	be->close(b);
}

static void test_rows(void **state)
{
	(void)state;
	enum { ROWS = 70, COLS = 301, N = ROWS * COLS };
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 5;
	float *x = test_normal(&seed, N, 1.0F), *y = test_normal(&seed, N, 1.0F),
	      *absmax = test_filled(COLS, 0.5F);
	double *want = doubles(N), *sum = doubles(COLS), *sq = doubles(COLS), *wsum = doubles(COLS),
	       *wsq = doubles(COLS);
	for (size_t i = 0; i < N; i++) {
		want[i] = (double)x[i] + (double)y[i] + (double)x[i % COLS];
		wsum[i % COLS] += (double)x[i];
		wsq[i % COLS] += (double)x[i] * (double)x[i];
	}
	assert_int_equal(be->add(b, y, x, N), 0);
	assert_int_equal(be->add_bias(b, y, x, ROWS, COLS), 0);
	test_close("add and add_bias", y, want, N, 1e-6);
	assert_int_equal(be->act_stats(b, x, ROWS, COLS, COLS, sum, sq, absmax), 0);
	for (size_t i = 0; i < COLS; i++) {
		float m = 0.5F;
		for (size_t t = 0; t < ROWS; t++) {
			m = fmaxf(m, fabsf(x[t * COLS + i]));
		}
		assert_true(absmax[i] == m);
		assert_true(fabs(sum[i] - wsum[i]) <= 1e-13 * (1.0 + fabs(wsum[i])));
		assert_true(fabs(sq[i] - wsq[i]) <= 1e-13 * (1.0 + fabs(wsq[i])));
	}
	assert_int_equal(be->act_stats(b, x, ROWS, COLS, COLS, NULL, NULL, absmax), 0);
	/* Added to what is there: the sums. */
	memcpy(wsum, sum, COLS * sizeof *wsum);
	assert_int_equal(be->act_abs(b, x, ROWS, COLS, COLS, sum), 0);
	for (size_t i = 0; i < COLS; i++) {
		for (size_t t = 0; t < ROWS; t++) {
			wsum[i] += fabs((double)x[t * COLS + i]);
		}
		assert_true(fabs(sum[i] - wsum[i]) <= 1e-12 * (1.0 + fabs(wsum[i])));
	}
	float *p[] = {x, y, absmax};
	double *q[] = {want, sum, sq, wsum, wsq};
	for (size_t i = 0; i < 3; i++) {
		free(p[i]);
	}
	for (size_t i = 0; i < 5; i++) {
		free(q[i]);
	}
	be->close(b);
}

/* Rows by number: 5 rows taken out of 7, with and without numbers and factors. */
static void test_rows_by_number(void **state)
{
	(void)state;
	enum { ROWS = 5, ALL = 7 };
	static const uint32_t index[ROWS] = {6, 0, 3, 2, 5};
	static const size_t widths[] = {1, 19, 577, 20000};
	struct test_host h;
	void *b = test_open(&h, 2);
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		for (int f = 0; f < 4; f++) {
			size_t cols = widths[w], n = ROWS * cols;
			uint64_t seed = cols + (uint64_t)f;
			const uint32_t *by = f & 1 ? index : NULL;
			float *x = test_normal(&seed, ALL * cols, 1.0F), *y = test_normal(&seed, ALL * cols, 1.0F);
			float *factors = test_normal(&seed, ROWS, 1.0F), *out = test_filled(n, 7.0F);
			double *gather = doubles(n), *scatter = doubles(ALL * cols), *dot = doubles(ROWS);
			for (size_t i = 0; i < ALL * cols; i++) {
				scatter[i] = (double)y[i];
			}
			for (size_t i = 0; i < n; i++) {
				size_t row = i / cols, other = (by ? by[row] : row) * cols + i % cols;
				double factor = f & 2 ? (double)factors[row] : 1.0;
				gather[i] = factor * (double)x[other];
				scatter[other] += factor * (double)x[i];
				dot[row] += (double)x[i] * (double)y[i];
			}
			const float *d_factor = f & 2 ? factors : NULL;
			assert_int_equal(be->gather_rows(b, x, by, d_factor, ROWS, cols, out), 0);
			test_close("gather_rows", out, gather, n, 1e-7);
			assert_int_equal(be->dot_rows(b, x, y, ROWS, cols, factors), 0);
			test_close_scaled("dot_rows", factors, dot, ROWS, 1e-5);
			free(factors);
			seed = cols + (uint64_t)f;
			free(x);
			free(y);
			x = test_normal(&seed, ALL * cols, 1.0F);
			y = test_normal(&seed, ALL * cols, 1.0F);
			factors = test_normal(&seed, ROWS, 1.0F);
			d_factor = f & 2 ? factors : NULL;
			assert_int_equal(be->scatter_rows(b, x, by, d_factor, ROWS, cols, y), 0);
			test_close("scatter_rows", y, scatter, ALL * cols, 1e-6);
			if (!by) {
				assert_int_equal(be->gather_rows(b, x, NULL, d_factor, ROWS, cols, x), 0);
				test_close("gather_rows in place", x, gather, n, 1e-7);
			}
			free(x);
			free(y);
			free(factors);
			free(out);
			free(gather);
			free(scatter);
			free(dot);
		}
	}
	be->close(b);
}

/* Against its definition, and its gradient against that of the definition. */
static void test_softcap(void **state)
{
	(void)state;
	enum { N = 40000 };
	const double cap = 3.5;
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 3;
	float *x = test_normal(&seed, N, 5.0F), *g = test_normal(&seed, N, 1.0F);
	double *want = doubles(N), *slope = doubles(N);
	for (size_t i = 0; i < N; i++) {
		double t = tanh((double)x[i] / cap);
		want[i] = cap * t;
		slope[i] = (double)g[i] * (1.0 - t * t);
	}
	assert_int_equal(be->softcap(b, x, N, (float)cap), 0);
	test_close("softcap", x, want, N, 1e-6);
	assert_int_equal(be->softcap_backward(b, g, x, N, (float)cap), 0);
	test_close("softcap_backward", g, slope, N, 2e-6);
	assert_int_equal(be->softcap(b, x, N, 0.0F), CWP_EVALUE);
	free(x);
	free(g);
	free(want);
	free(slope);
	be->close(b);
}

static void test_convert(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	uint16_t *all = be->alloc(b, 65536 * sizeof(*all));
	float *y = be->alloc(b, 65536 * sizeof(*y));
	assert_non_null(all);
	assert_non_null(y);
	for (size_t i = 0; i < 65536; i++) {
		all[i] = (uint16_t)i;
	}
	assert_int_equal(be->convert(b, y, all, CWP_BF16, 65536), 0);
	for (uint32_t i = 0; i < 65536; i++) {
		uint32_t bits = 0;
		memcpy(&bits, &y[i], sizeof(bits));
		assert_int_equal(bits, i << 16);
	}
	assert_int_equal(be->convert(b, y, all, CWP_F16, 65536), 0);
	for (int i = 0; i < 65536; i++) {
		int e = i >> 10 & 31, m = i & 1023;
		double v = e == 31 ? (m ? (double)NAN : (double)INFINITY)
			   : e     ? ldexp(1024 + m, e - 25)
				   : ldexp(m, -24);
		assert_true(isnan(v) ? isnan(y[i]) : (double)fabsf(y[i]) == v);
		assert_true(isnan(v) || (signbit(y[i]) != 0) == (i >> 15));
	}
	assert_int_equal(be->convert(b, y, y, 9, 5), CWP_EVALUE);
	be->free(b, all);
	be->free(b, y);
	be->close(b);
}

/* Narrowing gives every value of 16 bits back, rounds what lies between two to the nearer, and a tie to the even one. */
static void narrow_all(void *b, uint32_t dtype, uint32_t infinity)
{
	static uint16_t all[65536], back[4];
	static float y[65536];
	for (size_t i = 0; i < 65536; i++) {
		all[i] = (uint16_t)i;
	}
	assert_int_equal(be->convert(b, y, all, dtype, 65536), 0);
	for (uint32_t i = 0; i + 1 < infinity; i++) {
		float middle = y[i] / 2 + y[i + 1] / 2;
		const float x[] = {y[i], middle, nextafterf(middle, 0.0F), nextafterf(middle, INFINITY)};
		assert_int_equal(be->narrow(b, back, dtype, x, 4), 0);
		assert_int_equal(back[0], i);
		if (middle > y[i] && middle < y[i + 1] && x[2] > y[i] && y[i] > 0x1p-120F) {
			assert_int_equal(back[1], i + (i & 1));
			assert_int_equal(back[2], i);
			assert_int_equal(back[3], i + 1);
		}
	}
	assert_int_equal(be->narrow(b, all, dtype, y, 65536), 0);
	for (uint32_t i = 0; i < 65536; i++) {
		uint32_t a = i & 0x7fff;
		assert_true(a > infinity ? (all[i] & 0x7fffU) > infinity : all[i] == i);
	}
}

static void test_narrow(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	narrow_all(b, CWP_BF16, 0x7f80);
	narrow_all(b, CWP_F16, 0x7c00);
	const float x[] = {65519.0F, 65520.0F, -1e30F, 0x1p-25F, 0x1.000002p-25F, 3e38F};
	uint16_t y[6];
	assert_int_equal(be->narrow(b, y, CWP_F16, x, 6), 0);
	const uint16_t want[] = {0x7bff, 0x7c00, 0xfc00, 0, 1, 0x7c00};
	assert_memory_equal(y, want, sizeof(want));
	assert_int_equal(be->narrow(b, y, 9, x, 1), CWP_EVALUE);
	be->close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_matmul),
		cmocka_unit_test(test_few_rows),
		cmocka_unit_test(test_rows_alone),
		cmocka_unit_test(test_grad_stats),
		cmocka_unit_test(test_norm),
		cmocka_unit_test(test_rope),
		cmocka_unit_test(test_glu),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_rows_by_number),
		cmocka_unit_test(test_softcap),
		cmocka_unit_test(test_convert),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return test_each_tier(group) != 0;
}
