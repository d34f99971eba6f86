/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The kernels over a vector of W lanes, included by one file an instruction set, which gives the
 * type V and its operations. What each kernel does stands in kernels.h; kernels_scalar.c is the
 * reference. */

#define INLINE static inline __attribute__((always_inline))

enum { FETCH = 8 };

/* Lanes [0, left) of p, at most W. */
INLINE V load(const float *p, size_t left)
{
	return left >= W ? v_load(p) : v_load_first(p, left);
}

/* The same with `fill` in the lanes that are not there. */
INLINE V load_or(const float *p, size_t left, float fill)
{
	if (left >= W) {
		return v_load(p);
	}
	float lane[W];
	v_store(lane, v_set(fill));
	v_store_first(lane, v_load_first(p, left), left);
	return v_load(lane);
}

INLINE void store(float *p, V v, size_t left)
{
	if (left >= W) {
		v_store(p, v);
	} else {
		v_store_first(p, v, left);
	}
}

/* e^x with a relative error below 2e-7; exact 0, infinity and NaN, denormal results included. The
 * polynomial is that of the Cephes library's expf. */
INLINE V v_exp(V x)
{
	x = v_min(v_set(89.0F), v_max(v_set(-104.0F), x));
	V n = v_rint(v_mul(x, v_set(1.44269504088896341F)));
	V r = v_fnma(n, v_set(0.693359375F), x);
	r = v_fnma(n, v_set(-2.12194440e-4F), r);
	V p = v_set(1.9875691500e-4F);
	p = v_fma(p, r, v_set(1.3981999507e-3F));
	p = v_fma(p, r, v_set(8.3334519073e-3F));
	p = v_fma(p, r, v_set(4.1665795894e-2F));
	p = v_fma(p, r, v_set(1.6666665459e-1F));
	p = v_fma(p, r, v_set(5.0000001201e-1F));
	p = v_add(v_fma(p, v_mul(r, r), r), v_set(1.0F));
	return v_ldexp(p, n);
}

/* Cephes' tanhf: a polynomial near 0, elsewhere 1 - 2 / (e^2x + 1). */
INLINE V v_tanh(V x)
{
	V a = v_abs(x), z = v_mul(x, x);
	V p = v_set(-5.70498872745e-3F);
	p = v_fma(p, z, v_set(2.06390887954e-2F));
	p = v_fma(p, z, v_set(-5.37397155531e-2F));
	p = v_fma(p, z, v_set(1.33314422036e-1F));
	p = v_fma(p, z, v_set(-3.33332819422e-1F));
	p = v_fma(v_mul(p, z), x, x);
	V e = v_exp(v_add(a, a));
	V far = v_sub(v_set(1.0F), v_div(v_set(2.0F), v_add(e, v_set(1.0F))));
	return v_choose(v_less(a, v_set(0.625F)), p, v_sign(far, x));
}

INLINE V v_sigmoid(V x)
{
	return v_div(v_set(1.0F), v_add(v_set(1.0F), v_exp(v_sub(v_set(0.0F), x))));
}

/* ---- products ---- */

static float dot(const float *a, const float *b, size_t n)
{
	V s[4] = {v_set(0.0F), v_set(0.0F), v_set(0.0F), v_set(0.0F)};
	size_t i = 0;
	for (; n - i >= 4 * W; i += 4 * W) {
		for (size_t j = 0; j < 4; j++) {
			s[j] = v_fma(v_load(a + i + j * W), v_load(b + i + j * W), s[j]);
		}
	}
	for (; i < n; i += W) {
		s[0] = v_fma(load(a + i, n - i), load(b + i, n - i), s[0]);
	}
	return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

/* To BF16, to nearest even; NaN stays NaN. */
INLINE V v_rounded(V x)
{
	return v_choose(v_nan(x), v_set(NAN), v_round7(x));
}

/* Rows [row, row + rows) of B with rows [line, line + lines) of A; both counts, and whether B is rounded to BF16, are
 * constants where this is inlined. A sum is the same in any company. */
INLINE void few_block(const struct gemm *g, size_t line, size_t lines, size_t row, size_t rows, int rounded)
{
	V s[LINES][8], x[LINES];
	const float *a = g->a + line * g->lda, *b = g->b + row * g->ldb;
#pragma GCC unroll 8
	for (size_t l = 0; l < lines; l++) {
#pragma GCC unroll 8
		for (size_t r = 0; r < rows; r++) {
			s[l][r] = v_set(0.0F);
		}
	}
	for (size_t i = 0; i < g->k; i += W) {
#pragma GCC unroll 8
		for (size_t l = 0; l < lines; l++) {
			x[l] = load(a + l * g->lda + i, g->k - i);
		}
#pragma GCC unroll 8
		for (size_t r = 0; r < rows; r++) {
			V w = load(b + r * g->ldb + i, g->k - i);
			w = rounded ? v_rounded(w) : w;
#pragma GCC unroll 8
			for (size_t l = 0; l < lines; l++) {
				s[l][r] = v_fma(w, x[l], s[l][r]);
			}
		}
	}
#pragma GCC unroll 8
	for (size_t l = 0; l < lines; l++) {
		float *c = g->c + (line + l) * g->ldc + row;
#pragma GCC unroll 8
		for (size_t r = 0; r < rows; r++) {
			float v = v_sum(s[l][r]);
			c[r] = g->accumulate ? c[r] + v : v;
		}
	}
}

/* All of A with some rows of B, which are read once from memory and then from the caches. */
INLINE void few_rows(const struct gemm *g, size_t row, size_t rows, int rounded)
{
	size_t line = 0;
	for (; g->m - line >= LINES; line += LINES) {
		few_block(g, line, LINES, row, rows, rounded);
	}
	for (; g->m - line >= 2; line += 2) {
		few_block(g, line, 2, row, rows, rounded);
	}
	if (line < g->m) {
		few_block(g, line, 1, row, rows, rounded);
	}
}

INLINE void few_products(const struct gemm *g, int rounded)
{
	size_t row = 0;
	for (; g->m == 1 && g->n - row >= 8; row += 8) {
		few_block(g, 0, 1, row, 8, rounded);
	}
	for (; g->n - row >= ROWS; row += ROWS) {
		few_rows(g, row, ROWS, rounded);
	}
	for (; row < g->n; row++) {
		few_rows(g, row, 1, rounded);
	}
}

static void few(const struct gemm *g)
{
	few_products(g, 0);
}

static void few_bf16(const struct gemm *g)
{
	few_products(g, 1);
}

static void round_bf16(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		store(y + i, v_rounded(load(x + i, n - i)), n - i);
	}
}

/* n numbers that lie together, the rest of `width` filled with zeros; rounded is a constant where this is inlined. */
INLINE void pack_line(float *dst, const float *src, size_t n, size_t width, int rounded)
{
	if (!rounded) {
		memcpy(dst, src, n * sizeof(float));
		memset(dst + n, 0, (width - n) * sizeof(float));
		return;
	}
	for (size_t i = 0; i < width; i += W) {
		V x = i < n ? load(src + i, n - i) : v_set(0.0F);
		store(dst + i, v_rounded(x), width - i);
	}
}

/* A panel from rows of [n, k]. */
INLINE void pack_along(float *dst, const float *src, size_t ld, size_t k, size_t n, size_t width, int rounded)
{
	for (size_t i = 0; i < width; i++) {
		for (size_t p = 0; p < k; p++) {
			float x = i < n ? src[i * ld + p] : 0.0F;
			dst[p * width + i] = rounded ? bf16_rounded(x) : x;
		}
	}
}

/* One row of [k, n] into its place in all panels. */
INLINE void pack_row(const struct pack *p, size_t row, size_t width, int rounded)
{
	const float *src = p->src + row * p->ld;
	char *to = (char *)p->dst + row * width * sizeof(float);
	size_t i = 0;
	for (; p->n - i >= width; i += width, to += p->distance) {
		pack_line((float *)(void *)to, src + i, width, width, rounded);
	}
	if (i < p->n) {
		pack_line((float *)(void *)to, src + i, p->n - i, width, rounded);
	}
}

INLINE void pack_panels(const struct pack *p, size_t width, int rounded)
{
	char *to = p->dst;
	for (size_t row = 0; !p->along && row < p->k; row++) {
		pack_row(p, row, width, rounded);
	}
	for (size_t i = 0; p->along && i < p->n; i += width, to += p->distance) {
		pack_along((float *)(void *)to, p->src + i * p->ld, p->ld, p->k, p->n - i, width, rounded);
	}
}

static void pack_a(const struct pack *p)
{
	pack_panels(p, MR, 0);
}

static void pack_b(const struct pack *p)
{
	pack_panels(p, NR, 0);
}

static void pack_a_bf16(const struct pack *p)
{
	pack_panels(p, MR, 1);
}

static void pack_b_bf16(const struct pack *p)
{
	pack_panels(p, NR, 1);
}

/* The register tile: MR x 2 vectors, one multiplication each and token. */
INLINE void outer_products(size_t k, const float *a, const float *b, V c[MR][2])
{
	for (size_t p = 0; p < k; p++) {
		V b0 = v_load(b), b1 = v_load(b + W);
#pragma GCC unroll 16
		for (size_t i = 0; i < MR; i++) {
			V x = v_set(a[i]);
			c[i][0] = v_fma(x, b0, c[i][0]);
			c[i][1] = v_fma(x, b1, c[i][1]);
		}
		a += MR;
		b += NR;
	}
}

INLINE void product_tile(
	size_t k, const float *a, const float *b, const struct ahead *next, V c[MR][2])
{
	const char *next_a = next->a, *next_b = next->b;
	for (; k >= FETCH; k -= FETCH) {
		__builtin_prefetch(next_a, 0, 2);
		__builtin_prefetch(next_b, 0, 2);
		outer_products(FETCH, a, b, c);
		next_a += next->step_a;
		next_b += next->step_b;
		a += (size_t)FETCH * MR;
		b += (size_t)FETCH * NR;
	}
	outer_products(k, a, b, c);
}

INLINE void start_tile(const float *g, size_t ld, V c[MR][2])
{
#pragma GCC unroll 16
	for (size_t i = 0; i < MR; i++) {
		c[i][0] = g ? v_load(g + i * ld) : v_set(0.0F);
		c[i][1] = g ? v_load(g + i * ld + W) : v_set(0.0F);
	}
}

static void micro(size_t k, const void *a, const void *b, const struct ahead *next, int accumulate,
	float *g, size_t ld)
{
	V c[MR][2];
	start_tile(accumulate ? g : NULL, ld, c);
	product_tile(k, a, b, next, c);
#pragma GCC unroll 16
	for (size_t i = 0; i < MR; i++) {
		v_store(g + i * ld, c[i][0]);
		v_store(g + i * ld + W, c[i][1]);
	}
}

static void micro_stats(size_t k, const void *a, const void *b, const struct ahead *next,
	const float *g, const struct micro_stats *s)
{
	V c[MR][2];
	start_tile(g, NR, c);
	product_tile(k, a, b, next, c);
	float *sum = s->sum, *abs = s->abs, *sq = s->sq;
	if (sum) {
#pragma GCC unroll 32
		for (size_t i = 0; i < 2 * MR; i++) {
			v_store(sum + i * W, v_add(v_load(sum + i * W), c[i / 2][i % 2]));
		}
	}
	if (abs) {
#pragma GCC unroll 32
		for (size_t i = 0; i < 2 * MR; i++) {
			v_store(abs + i * W, v_add(v_load(abs + i * W), v_abs(c[i / 2][i % 2])));
		}
	}
	if (sq) {
#pragma GCC unroll 32
		for (size_t i = 0; i < 2 * MR; i++) {
			v_store(sq + i * W,
				v_fma(c[i / 2][i % 2], c[i / 2][i % 2], v_load(sq + i * W)));
		}
	}
}

/* ---- elements ---- */

static void add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		store(y + i, v_add(load(y + i, n - i), load(x + i, n - i)), n - i);
	}
}

static void axpy(float *y, float a, const float *x, size_t n)
{
	V factor = v_set(a);
	for (size_t i = 0; i < n; i += W) {
		store(y + i, v_fma(factor, load(x + i, n - i), load(y + i, n - i)), n - i);
	}
}

static void scale(float *y, float a, size_t n)
{
	V factor = v_set(a);
	for (size_t i = 0; i < n; i += W) {
		store(y + i, v_mul(load(y + i, n - i), factor), n - i);
	}
}

static void bf16(float *y, const uint16_t *x, size_t n)
{
	size_t i = 0;
	for (; n - i >= W; i += W) {
		v_store(y + i, v_bf16(x + i));
	}
	uint16_t tail[W] = {0};
	memcpy(tail, x + i, (n - i) * sizeof(*x));
	v_store_first(y + i, v_bf16(tail), n - i);
}

static void f16(float *y, const uint16_t *x, size_t n)
{
	size_t i = 0;
	for (; n - i >= W; i += W) {
		v_store(y + i, v_f16(x + i));
	}
	uint16_t tail[W] = {0};
	memcpy(tail, x + i, (n - i) * sizeof(*x));
	v_store_first(y + i, v_f16(tail), n - i);
}

static void silu(const float *gate, const float *up, size_t n, float *h)
{
	for (size_t i = 0; i < n; i += W) {
		V g = load(gate + i, n - i);
		store(h + i, v_mul(v_mul(g, v_sigmoid(g)), load(up + i, n - i)), n - i);
	}
}

static void silu_backward(
	const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup)
{
	const V one = v_set(1.0F);
	for (size_t i = 0; i < n; i += W) {
		V g = load(gate + i, n - i), u = load(up + i, n - i), d = load(dh + i, n - i),
		  s = v_sigmoid(g);
		V slope = v_mul(s, v_fma(g, v_sub(one, s), one));
		store(dgate + i, v_mul(v_mul(d, u), slope), n - i);
		store(dup + i, v_mul(d, v_mul(g, s)), n - i);
	}
}

/* See kernels_scalar.c. */
INLINE V gelu_argument(V x, V *ret_derivative)
{
	V c = v_min(v_set(20.0F), v_max(v_set(-20.0F), x)), c2 = v_mul(c, c);
	*ret_derivative = v_mul(v_set(1.5957691216F), v_fma(v_set(0.134145F), c2, v_set(1.0F)));
	return v_mul(v_set(1.5957691216F), v_mul(c, v_fma(v_set(0.044715F), c2, v_set(1.0F))));
}

static void gelu(const float *gate, const float *up, size_t n, float *h)
{
	for (size_t i = 0; i < n; i += W) {
		V g = load(gate + i, n - i), d;
		store(h + i, v_mul(v_mul(g, v_sigmoid(gelu_argument(g, &d))), load(up + i, n - i)),
			n - i);
	}
}

static void gelu_backward(
	const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup)
{
	for (size_t i = 0; i < n; i += W) {
		V g = load(gate + i, n - i), u = load(up + i, n - i), d = load(dh + i, n - i), y;
		V s = v_sigmoid(gelu_argument(g, &y));
		V slope = v_fma(g, v_mul(v_mul(s, v_sub(v_set(1.0F), s)), y), s);
		store(dgate + i, v_mul(v_mul(d, u), slope), n - i);
		store(dup + i, v_mul(d, v_mul(g, s)), n - i);
	}
}

#include "plugins/backends/cpu/kernels_simd_rows.inc.c" /* NOLINT(bugprone-suspicious-include) */
