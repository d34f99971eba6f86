/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The second half of kernels_simd.inc.c: kernels over rows, softmax, and the table. */

static float rmsnorm(const float *x, const float *w, float offset, float eps, size_t n, float *y)
{
	float rstd = 1.0F / sqrtf(dot(x, x, n) / (float)n + eps);
	V r = v_set(rstd), o = v_set(offset);
	for (size_t i = 0; i < n; i += W) {
		V v = v_mul(load(x + i, n - i), r);
		store(y + i, v_mul(v, v_add(load(w + i, n - i), o)), n - i);
	}
	return rstd;
}

static void rmsnorm_dx(const float *dy, const float *x, const float *w, float offset, float rstd,
	size_t n, int accumulate, float *dx)
{
	V o = v_set(offset), s[2] = {v_set(0.0F), v_set(0.0F)};
	for (size_t i = 0; i < n; i += W) {
		V d = v_mul(load(dy + i, n - i), v_add(load(w + i, n - i), o));
		s[i / W % 2] = v_fma(d, load(x + i, n - i), s[i / W % 2]);
	}
	V c = v_set(v_sum(v_add(s[0], s[1])) / (float)n * rstd * rstd), r = v_set(rstd);
	for (size_t i = 0; i < n; i += W) {
		V d = v_mul(load(dy + i, n - i), v_add(load(w + i, n - i), o));
		V v = v_mul(r, v_fnma(load(x + i, n - i), c, d));
		store(dx + i, accumulate ? v_add(load(dx + i, n - i), v) : v, n - i);
	}
}

static void rmsnorm_dw(const float *dy, const float *x, float rstd, size_t n, float *dw)
{
	V r = v_set(rstd);
	for (size_t i = 0; i < n; i += W) {
		V v = v_mul(load(x + i, n - i), r);
		store(dw + i, v_fma(load(dy + i, n - i), v, load(dw + i, n - i)), n - i);
	}
}

static void rope(float *x, size_t half, const float *c, const float *s, float sign)
{
	V g = v_set(sign);
	for (size_t i = 0; i < half; i += W) {
		size_t left = half - i;
		V a = load(x + i, left), b = load(x + half + i, left), cosine = load(c + i, left);
		V sine = v_mul(g, load(s + i, left));
		store(x + i, v_fnma(b, sine, v_mul(a, cosine)), left);
		store(x + half + i, v_fma(a, sine, v_mul(b, cosine)), left);
	}
}

/* The larger of m and |x|, where a NaN of either stays. */
INLINE V keep_largest(V m, V x)
{
	return v_choose(v_nan(m), m, v_max(m, v_abs(x)));
}

static float absmax(const float *x, size_t n)
{
	V m = v_set(0.0F);
	for (size_t i = 0; i < n; i += W) {
		m = keep_largest(m, load(x + i, n - i));
	}
	float lane[W], most = 0.0F;
	v_store(lane, m);
	for (size_t i = 0; i < W; i++) {
		if (lane[i] > most || lane[i] != lane[i]) {
			most = lane[i];
		}
	}
	return most;
}

static void fake_int8(const float *x, float s, float zero, size_t n, float *y)
{
	V step = v_set(s), z = v_set(zero);
	for (size_t i = 0; i < n; i += W) {
		V q = v_add(v_div(load(x + i, n - i), step), z);
		q = v_rint(v_min(v_set(127.0F), v_max(v_set(-128.0F), q)));
		store(y + i, v_mul(step, v_sub(q, z)), n - i);
	}
}

static void fake_e4m3(const float *x, float s, size_t n, float *y)
{
	V step = v_set(s);
	for (size_t i = 0; i < n; i += W) {
		V v = v_div(load(x + i, n - i), step);
		v = v_min(v_set(448.0F), v_max(v_set(-448.0F), v));
		V small = v_mul(v_rint(v_mul(v, v_set(512.0F))), v_set(0x1p-9F));
		V q = v_choose(v_less(v_abs(v), v_set(0x1p-6F)), small, v_round3(v));
		store(y + i, v_mul(step, v_choose(v_nan(v), v, q)), n - i);
	}
}

static float outliers(const float *x, float threshold, size_t n, float *column)
{
	V most = v_set(0.0F), limit = v_set(threshold);
	for (size_t i = 0; i < n; i += W) {
		V h = v_abs(v_round_f16(load(x + i, n - i)));
		store(column + i, keep_largest(load(column + i, n - i), h), n - i);
		V inside = v_choose(v_less(h, limit), h, v_choose(v_nan(h), h, v_set(0.0F)));
		most = keep_largest(most, inside);
	}
	float lane[W], largest = 0.0F;
	v_store(lane, most);
	for (size_t i = 0; i < W; i++) {
		if (lane[i] > largest || lane[i] != lane[i]) {
			largest = lane[i];
		}
	}
	return largest;
}

static void fake_outliers(const float *x, float inverse, float step, float threshold,
	const float *column, size_t n, float *y)
{
	V factor = v_set(inverse), s = v_set(step), limit = v_set(threshold);
	for (size_t i = 0; i < n; i += W) {
		V v = load(x + i, n - i), c = load(column + i, n - i);
		V q = v_mul(v_rint(v_mul(v_round_f16(v), factor)), s);
		/* An outlier is neither below the threshold nor NaN. */
		V other = v_choose(v_nan(c), q, v);
		store(y + i, v_choose(v_less(c, limit), q, other), n - i);
	}
}

static void act_stats(const float *x, size_t n, double *sum, double *sq, float *most)
{
	size_t i = 0;
	for (; n - i >= W; i += W) {
		V v = v_load(x + i);
		D low = d_low(v), high = d_high(v);
		if (sum) {
			d_store(sum + i, d_add(d_load(sum + i), low));
			d_store(sum + i + W / 2, d_add(d_load(sum + i + W / 2), high));
		}
		if (sq) {
			d_store(sq + i, d_fma(low, low, d_load(sq + i)));
			d_store(sq + i + W / 2, d_fma(high, high, d_load(sq + i + W / 2)));
		}
		if (most) {
			v_store(most + i, keep_largest(v_load(most + i), v));
		}
	}
	for (; i < n; i++) {
		double v = (double)x[i];
		if (sum) {
			sum[i] += v;
		}
		if (sq) {
			sq[i] += v * v;
		}
		if (most && (fabsf(x[i]) > most[i] || x[i] != x[i])) {
			most[i] = fabsf(x[i]);
		}
	}
}

INLINE V cap(V s, V factor, float softcap)
{
	V v = v_mul(s, factor);
	return softcap > 0.0F ? v_mul(v_set(softcap), v_tanh(v_div(v, v_set(softcap)))) : v;
}

static float scores(float *s, size_t n, float factor, float softcap)
{
	V most = v_set(-INFINITY), f = v_set(factor);
	for (size_t i = 0; i < n; i += W) {
		V v = cap(load(s + i, n - i), f, softcap);
		store(s + i, v, n - i);
		/* Read again, so that lanes past the end do not count. */
		most = v_max(n - i >= W ? v : load_or(s + i, n - i, -INFINITY), most);
	}
	return v_largest(most);
}

static float exp_sum(float *x, size_t n, float shift)
{
	V m = v_set(shift), s = v_set(0.0F);
	size_t i = 0;
	for (; n - i >= W; i += W) {
		V e = v_exp(v_sub(v_load(x + i), m));
		v_store(x + i, e);
		s = v_add(s, e);
	}
	if (i < n) {
		v_store_first(x + i, v_exp(v_sub(v_load_first(x + i, n - i), m)), n - i);
		s = v_add(s, v_load_first(x + i, n - i));
	}
	return v_sum(s);
}

static void probs(float *p, float *s, size_t n, float factor, float softcap, float lse)
{
	V f = v_set(factor), l = v_set(lse);
	for (size_t i = 0; i < n; i += W) {
		V v = cap(load(s + i, n - i), f, softcap);
		store(s + i, v, n - i);
		store(p + i, v_exp(v_sub(v, l)), n - i);
	}
}

static void dscores(float *d, const float *p, const float *s, size_t n, float delta, float factor,
	float softcap)
{
	V f = v_set(factor), shift = v_set(delta),
	  inverse = v_set(softcap > 0.0F ? 1.0F / softcap : 0.0F);
	for (size_t i = 0; i < n; i += W) {
		V v = v_mul(v_mul(load(p + i, n - i), v_sub(load(d + i, n - i), shift)), f);
		V t = v_mul(load(s + i, n - i), inverse);
		if (softcap > 0.0F) {
			v = v_mul(v, v_fnma(t, t, v_set(1.0F)));
		}
		store(d + i, v, n - i);
	}
}

static size_t argmax(const float *x, size_t n, float *ret_max)
{
	V most = v_set(-INFINITY);
	for (size_t i = 0; i < n; i += W) {
		most = v_max(load_or(x + i, n - i, -INFINITY), most);
	}
	float m = v_largest(most);
	*ret_max = m;
	if (m == -INFINITY) {
		return 0;
	}
	V wanted = v_set(m);
	for (size_t i = 0; i < n; i += W) {
		unsigned found = v_equal_bits(load_or(x + i, n - i, -INFINITY), wanted);
		if (found) {
			return i + (size_t)__builtin_ctz(found);
		}
	}
	return 0;
}

static double sum_exp(const float *x, size_t n, float shift)
{
	V m = v_set(shift);
	D low = d_zero(), high = d_zero();
	for (size_t i = 0; i < n; i += W) {
		V e = v_exp(v_sub(load_or(x + i, n - i, -INFINITY), m));
		low = d_add(low, d_low(e));
		high = d_add(high, d_high(e));
	}
	return d_sum(d_add(low, high));
}

static void softmax_weight(float *x, size_t n, float shift, float shift_low, float weight)
{
	V high = v_set(shift), low = v_set(shift_low), w = v_set(weight);
	for (size_t i = 0; i < n; i += W) {
		V v = v_sub(v_sub(load(x + i, n - i), high), low);
		store(x + i, v_mul(w, v_exp(v)), n - i);
	}
}

/* gemm stays what it is: oneDNN has its own tiers. */
void TIER_FILL(struct kernels *k)
{
	int (*product)(const struct gemm *g) = k->gemm;
	*k = (struct kernels){
		.name = TIER_NAME,
		.gemm = product,
		.few = few,
		.few_bf16 = few_bf16,
		.round_bf16 = round_bf16,
		.f32 = {"f32", MR, NR, 1, sizeof(float), FETCH, NULL, NULL, pack_a, pack_b, micro, micro_stats},
		.bf16_panels = {"bf16 emulated", MR, NR, 1, sizeof(float), FETCH, NULL, NULL, pack_a_bf16, pack_b_bf16, micro,
			micro_stats},
		.add = add,
		.axpy = axpy,
		.scale = scale,
		.bf16 = bf16,
		.f16 = f16,
		.silu = silu,
		.gelu = gelu,
		.silu_backward = silu_backward,
		.gelu_backward = gelu_backward,
		.rmsnorm = rmsnorm,
		.rmsnorm_dx = rmsnorm_dx,
		.rmsnorm_dw = rmsnorm_dw,
		.rope = rope,
		.absmax = absmax,
		.fake_int8 = fake_int8,
		.fake_e4m3 = fake_e4m3,
		.outliers = outliers,
		.fake_outliers = fake_outliers,
		.act_stats = act_stats,
		.scores = scores,
		.exp_sum = exp_sum,
		.probs = probs,
		.dscores = dscores,
		.dot = dot,
		.argmax = argmax,
		.sum_exp = sum_exp,
		.softmax_weight = softmax_weight,
	};
}
