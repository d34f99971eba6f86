/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizers where rows share scales, LLM.int8() as bitsandbytes rounds it, and scales of inputs. */
#include <float.h>
#include <math.h>

#include <cwp/quantizer.h>

#include "tests/plugins/common.h"

/* No multiples of a block or a byte. */
enum { ROWS = 150, COLS = 203, STRIDE = 26, BLOCK = 128, WIDE = (COLS + BLOCK - 1) / BLOCK };

struct data {
	float weight[ROWS * COLS];
	uint8_t mask[ROWS * STRIDE];
	uint8_t codes[ROWS * COLS];
	float scales[ROWS * WIDE];
	int8_t zeros[ROWS * WIDE];
};

static struct data *data_new(void)
{
	struct data *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		d->weight[i] = weight_at(13, i);
	}
	for (int i = 0; i < ROWS * STRIDE; i += 3) {
		d->mask[i] = (uint8_t)(1 << (i % 8));
	}
	return d;
}

static int is_kept(const struct data *d, int r, int c)
{
	return mask_at(d->mask, STRIDE, (uint64_t)r, (uint64_t)c);
}

static int run(const struct cwe_plugin *p, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d, int row, int rows)
{
	const struct cwp_quantizer *q = p->interface;
	const size_t n = g->granularity == CWP_PER_BLOCK ? WIDE : 1;
	struct cwp_quantizer_tile tile = {.size = sizeof(tile), .row = (uint64_t)row, .rows = (uint64_t)rows, .cols = COLS,
		.weight = d->weight + row * COLS, .mask = d->mask + row * STRIDE, .mask_stride = STRIDE};
	struct cwp_quantizer_result result = {.size = sizeof(result), .codes = d->codes + row * COLS,
		.scales = d->scales + (size_t)row * n, .zeros = g->symmetric ? NULL : d->zeros + (size_t)row * n};

	return q->quantize(s, g, &tile, &result);
}

static float as_bf16(float f)
{
	uint32_t u;

	memcpy(&u, &f, 4);
	u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
	memcpy(&f, &u, 4);
	return f;
}

static float value_of(uint8_t code)
{
	const int e = code >> 3 & 15, m = code & 7;
	const float v = e > 0 ? ldexpf((float)(8 + m), e - 10) : ldexpf((float)m, -9);

	return code & 0x80 ? -v : v;
}

/* Least and greatest of the unprotected weights of a block, zero included. */
static void ends(const struct data *d, int r0, int r1, int c0, int c1, float *ret_low, float *ret_high)
{
	*ret_low = *ret_high = 0;
	for (int r = r0; r < r1; r++) {
		for (int c = c0; c < c1; c++) {
			const float w = is_kept(d, r, c) ? 0 : d->weight[r * COLS + c];
			*ret_low = fminf(*ret_low, w);
			*ret_high = fmaxf(*ret_high, w);
		}
	}
}

/* The code is the nearest of the scale's grid. */
static void check_fp8_code(const struct data *d, int r, int c, float scale)
{
	const float v = d->weight[r * COLS + c] / scale, q = value_of(d->codes[r * COLS + c]);
	const float step = fmaxf(ldexpf(1, (int)floorf(log2f(fmaxf(fabsf(v), FLT_MIN))) - 3), 0x1p-9f);

	assert_true(fabsf(v) > 448 ? fabsf(q) == 448.0f : fabsf(q - v) <= step / 2);
}

static void test_fp8(void **state)
{
	struct cwe_plugin p = open_plugin("fp8");
	const struct cwp_quantizer *q = p.interface;
	static const char *const granularity[] = {"granularity=tensor", "granularity=block"};
	struct data *d = data_new(), *tiled = data_new();
	float low, high;

	(void)state;
	for (int block = 0; block < 2; block++) {
		struct cwp_setting *s = SETTINGS(&p, granularity[block], "activations=none");
		struct cwp_grid g;
		const int rows = block ? BLOCK : ROWS, cols = block ? BLOCK : COLS, n = block ? WIDE : 1;
		assert_int_equal(q->grid(s, ROWS, COLS, &g, NULL, 0), 0);
		assert_int_equal(g.granularity, block ? CWP_PER_BLOCK : CWP_PER_TENSOR);
		assert_int_equal(g.group, block ? BLOCK : 0);
		assert_int_equal(g.block_rows, block ? BLOCK : 0);
		assert_int_equal(run(&p, s, &g, d, 0, ROWS), 0);
		for (int r = 0; r < ROWS; r++) {
			for (int c = 0; c < COLS; c++) {
				const int r0 = r / rows * rows, c0 = c / cols * cols;
				const int r1 = r0 + rows < ROWS ? r0 + rows : ROWS, c1 = c0 + cols < COLS ? c0 + cols : COLS;
				const float scale = d->scales[r * n + c / cols];
				if (c == c0) {
					ends(d, r0, r1, c0, c1, &low, &high);
					assert_true(scale == as_bf16(fmaxf(-low, high) / 448.0f));
				}
				check_fp8_code(d, r, c, scale);
			}
		}
		/* Whole blocks one by one give the same. */
		for (int r = 0; r < ROWS; r += rows) {
			assert_int_equal(run(&p, s, &g, tiled, r, r + rows < ROWS ? rows : ROWS - r), 0);
		}
		assert_memory_equal(tiled->codes, d->codes, sizeof(d->codes));
		assert_memory_equal(tiled->scales, d->scales, sizeof(float) * (size_t)(ROWS * n));
		cwe_settings_free(p.descriptor, s);
	}
	free(d);
	free(tiled);
	free(p.path);
}

static void test_static_tensor(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	static const char *const symmetric[] = {"symmetric=false", "symmetric=true"};
	struct data *d = data_new();
	float low, high;

	(void)state;
	ends(d, 0, ROWS, 0, COLS, &low, &high);
	for (int y = 0; y < 2; y++) {
		struct cwp_setting *s = SETTINGS(&p, "granularity=tensor", symmetric[y]);
		struct cwp_grid g;
		assert_int_equal(q->grid(s, ROWS, COLS, &g, NULL, 0), 0);
		assert_int_equal(g.granularity, CWP_PER_TENSOR);
		assert_int_equal(run(&p, s, &g, d, 0, ROWS), 0);
		const float scale = as_bf16(y ? fmaxf(-low, high) / 127.0f : (float)(((double)high - (double)low) / 255));
		const int zero = y ? 0 : (int)rintf(-low / scale) - 128;
		for (int r = 0; r < ROWS; r++) {
			assert_true(d->scales[r] == scale);
			assert_true(y || d->zeros[r] == zero);
			for (int c = 0; c < COLS; c++) {
				const float want = rintf(d->weight[r * COLS + c] / scale) + (float)zero;
				assert_int_equal((int8_t)d->codes[r * COLS + c], (int)fminf(fmaxf(want, -128), 127));
			}
		}
		cwe_settings_free(p.descriptor, s);
	}
	free(d);
	free(p.path);
}

/* Zeros and huge protected weights among rows that share a scale; what is no number is refused. */
static void test_odd_numbers(void **state)
{
	static const struct {
		const char *plugin, *a, *b;
	} forms[] = {{"fp8", "granularity=tensor", "activations=none"}, {"fp8", "granularity=block", "activations=none"},
		{"static", "granularity=tensor", "symmetric=true"}, {"static", "granularity=tensor", "symmetric=false"}};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct cwe_plugin p = open_plugin(forms[i].plugin);
		const struct cwp_quantizer *q = p.interface;
		struct cwp_setting *s = SETTINGS(&p, forms[i].a, forms[i].b);
		struct cwp_grid g;
		struct data *d = data_new();
		memset(d->weight, 0, sizeof(d->weight));
		d->mask[2 * STRIDE] |= 1;
		d->weight[2 * COLS] = FLT_MAX;
		assert_int_equal(q->grid(s, ROWS, COLS, &g, NULL, 0), 0);
		assert_int_equal(run(&p, s, &g, d, 0, ROWS), 0);
		assert_true(d->scales[0] == 1.0f && d->scales[ROWS - 1] == 1.0f);
		assert_int_equal(d->codes[COLS] & 0x7f, g.symmetric ? 0 : d->zeros[1] & 0x7f);
		d->weight[(ROWS - 1) * COLS + COLS - 1] = NAN;
		assert_int_equal(run(&p, s, &g, d, 0, ROWS), CWP_ENUMBER);
		free(d);
		cwe_settings_free(p.descriptor, s);
		free(p.path);
	}
}

/* F16 by its exponent, in f64. */
static double as_f16(double x)
{
	int e;

	(void)frexp(x, &e);
	const double step = ldexp(1, (e < -13 ? -13 : e) - 11);
	return nearbyint(x / step) * step;
}

static void test_exact_int8(void **state)
{
	struct cwe_plugin p = open_plugin("int8");
	const struct cwp_quantizer *q = p.interface;
	struct cwp_setting *s = settings_of(&p, NULL);
	struct cwp_grid g;
	struct data *d = data_new();

	(void)state;
	assert_int_equal(q->grid(s, ROWS, COLS, &g, NULL, 0), 0);
	assert_int_equal(g.exact_scales, 0);
	g.exact_scales = 1;
	memset(d->weight + 3 * COLS, 0, COLS * sizeof(float));
	for (int c = 0; c < COLS; c++) {
		d->weight[4 * COLS + c] *= 1e-5f; /* denormal in F16 */
		d->weight[5 * COLS + c] = is_kept(d, 5, c) ? 60000.0f : d->weight[5 * COLS + c];
	}
	assert_int_equal(run(&p, s, &g, d, 0, ROWS), 0);
	for (int r = 0; r < ROWS; r++) {
		float most = 0;
		for (int c = 0; c < COLS; c++) {
			const float h = (float)as_f16((double)d->weight[r * COLS + c]);
			most = is_kept(d, r, c) ? most : fmaxf(most, fabsf(h));
		}
		assert_true(d->scales[r] == most / 127.0f);
		const float reciprocal = 1.0f / most, inverse = reciprocal * 127.0f;
		for (int c = 0; c < COLS; c++) {
			const float h = (float)as_f16((double)d->weight[r * COLS + c]);
			const int want = most > 0 ? (int)fminf(fmaxf(rintf(h * inverse), -127), 127) : 0;
			assert_int_equal((int8_t)d->codes[r * COLS + c], want);
		}
	}
	const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, 65520.0f};
	for (int i = 0; i < 5; i++) {
		d->weight[0] = bad[i];
		assert_int_equal(run(&p, s, &g, d, 0, ROWS), CWP_ENUMBER);
	}
	g.exact_scales = 0;
	assert_int_equal(run(&p, s, &g, d, 0, ROWS), 0);
	cwe_settings_free(p.descriptor, s);
	free(d);
	free(p.path);
}

static float input_scale(const struct cwe_plugin *p, const char *method, const char *percentile, const float *absmax,
	const uint64_t *count, int expected, char *note)
{
	const struct cwp_quantizer *q = p->interface;
	struct cwp_setting *s = percentile != NULL ? SETTINGS(p, "activations=static", method, percentile)
						   : SETTINGS(p, "activations=static", method);
	struct cwp_grid g;
	float scale = -1;
	void *kept = &scale;
	struct cwp_quantizer_module m = {.size = sizeof(m), .name = "m", .rows = 4, .cols = 2, .tokens = 1, .act_absmax = absmax,
		.act_histogram = count, .input_scale = &scale};

	assert_int_equal(q->grid(s, 4, 2, &g, NULL, 0), 0);
	assert_true(g.activation == CWP_ACT_INT8_TENSOR || g.activation == CWP_ACT_FP8_TENSOR);
	assert_int_equal(q->needs(s), CWP_STAT_ACT_ABSMAX | (strstr(method, "minmax") ? 0 : CWP_STAT_ACT_HISTOGRAM));
	note[0] = '\0';
	assert_int_equal(q->prepare(NULL, s, &g, &m, &kept, note, 256), expected);
	assert_null(kept);
	q->release(kept);
	cwe_settings_free(p->descriptor, s);
	return scale;
}

static void count_in(uint64_t *count, float v, uint64_t n)
{
	uint32_t bits;

	memcpy(&bits, &v, 4);
	count[v < 0x1p-24f ? 0 : (bits >> 17) - CWP_HISTOGRAM_FIRST + 1] += n;
}

/* 1000 inputs of a bell, and one that is far out: what each method makes of it. */
static void test_input_scales(void **state)
{
	static const char *const plugins[] = {"static", "fp8"};
	uint64_t *count = calloc(CWP_HISTOGRAM_BINS, sizeof(*count));
	float absmax[2] = {3, 100};
	char note[256];

	(void)state;
	assert_non_null(count);
	for (int i = 0; i < 1000; i++) {
		count_in(count, fabsf(weight_at(3, (uint64_t)i)) * 15, 1);
	}
	count_in(count, 100, 1);
	for (int i = 0; i < 2; i++) {
		struct cwe_plugin p = open_plugin(plugins[i]);
		const float top = i == 0 ? 127.0f : 448.0f;
		assert_true(input_scale(&p, "activation-scale=minmax", NULL, absmax, NULL, 0, note) == as_bf16(100 / top));
		assert_int_equal(note[0], 0);
		const float most = input_scale(&p, "activation-scale=percentile", "activation-percentile=100", absmax, count, 0, note);
		assert_true(most == as_bf16(100 / top));
		const float near = input_scale(&p, "activation-scale=percentile", "activation-percentile=99.9", absmax, count, 0, note);
		assert_true(near * top > 2.5f && near * top < 3.1f);
		/* A floating point grid has room for what is far out, an integer one loses too much to it. */
		const float least = input_scale(&p, "activation-scale=mse", NULL, absmax, count, 0, note);
		assert_true(i == 0 ? least * top > 20 && least <= most : least * top > 20 && least <= most);
		/* Without the outlier, all are near the whole range. */
		absmax[1] = 3;
		count[0] += 1000000;
		assert_true(input_scale(&p, "activation-scale=mse", NULL, absmax, count, 0, note) * top > 0.6f);
		count[0] -= 1000000;
		/* No input but zeros, or none; and what is no number. */
		absmax[0] = absmax[1] = 0;
		assert_true(input_scale(&p, "activation-scale=mse", NULL, absmax, count, 0, note) == 1.0f);
		assert_non_null(strstr(note, "zeros"));
		absmax[1] = INFINITY;
		(void)input_scale(&p, "activation-scale=minmax", NULL, absmax, NULL, CWP_ENUMBER, note);
		absmax[1] = NAN;
		(void)input_scale(&p, "activation-scale=minmax", NULL, absmax, NULL, CWP_ENUMBER, note);
		(void)input_scale(&p, "activation-scale=percentile", NULL, absmax, NULL, CWP_EVALUE, note);
		absmax[0] = 3;
		absmax[1] = 100;
		free(p.path);
	}
	free(count);
}

/* The search for the least error, in another way: counts that stand at the middle of their bins' parts. */
static void test_least_input_error(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	uint64_t *count = calloc(CWP_HISTOGRAM_BINS, sizeof(*count));
	const float absmax[2] = {8, 8};
	double least = INFINITY;
	float best = 0;
	char note[256];

	(void)state;
	assert_non_null(count);
	for (int i = 0; i < 4000; i++) {
		count_in(count, fminf(fabsf(weight_at(5, (uint64_t)i)) * 40, 7.99f), 1);
	}
	for (int step = 0; step <= 80; step++) {
		const float scale = as_bf16(8 * (1 - 0.01f * (float)step) / 127.0f);
		double sum = 0;
		for (uint64_t i = 0; i < CWP_HISTOGRAM_BINS; i++) {
			const uint32_t bits = (uint32_t)(i - 1 + CWP_HISTOGRAM_FIRST) << 17, next = bits + (1u << 17);
			float a, b;
			memcpy(&a, &bits, 4);
			memcpy(&b, &next, 4);
			a = i == 0 ? 0 : a;
			for (int k = 0; k < 4 && count[i] > 0; k++) {
				const double v = (double)(a + (b - a) * (2 * (float)k + 1) / 8);
				const double q = fmin(nearbyint(v / (double)scale), 127) * (double)scale;
				sum += (double)count[i] * (q - v) * (q - v);
			}
		}
		best = sum < least ? scale : best;
		least = sum < least ? sum : least;
	}
	assert_true(input_scale(&p, "activation-scale=mse", NULL, absmax, count, 0, note) == best);
	assert_true(best < as_bf16(8 / 127.0f));
	free(count);
	free(p.path);
}

static int asymmetric(const char *method, const float *least, const float *greatest, const uint64_t *count, float *ret_scale, int8_t *ret_zero)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "activations=static", method, "activation-percentile=90", "activation-symmetric=false");
	const float absmax[2] = {fmaxf(-least[0], greatest[0]), fmaxf(-least[1], greatest[1])};
	struct cwp_grid g;
	char note[256] = "";
	void *kept = NULL;
	struct cwp_quantizer_module m = {.size = sizeof(m), .name = "m", .rows = 4, .cols = 2, .tokens = 1, .act_absmax = absmax,
		.act_histogram = count, .input_scale = ret_scale, .act_least = least, .act_greatest = greatest, .input_zero = ret_zero};

	assert_int_equal(q->grid(s, 4, 2, &g, NULL, 0), 0);
	assert_int_equal(g.activation, CWP_ACT_INT8_TENSOR);
	assert_int_equal(g.input_zero, 1);
	assert_true((q->needs(s) & CWP_STAT_ACT_RANGE) != 0);
	int r = q->prepare(NULL, s, &g, &m, &kept, note, sizeof(note));
	m.act_least = NULL;
	assert_int_equal(q->prepare(NULL, s, &g, &m, &kept, note, sizeof(note)), CWP_EVALUE);
	cwe_settings_free(p.descriptor, s);
	free(p.path);
	return r;
}

/* All codes on the range from the least to the greatest input, 0 being one that is exact. */
static void test_asymmetric_inputs(void **state)
{
	uint64_t *count = calloc(CWP_HISTOGRAM_BINS, sizeof(*count));
	static const struct {
		float least[2], greatest[2];
		double range;
		int zero;
	} cases[] = {
		{{-1, -2}, {6, 5}, 8, -64},
		{{0, 0}, {4, 1}, 4, -128},
		{{-3, -1}, {0, 0}, 3, 127},
		{{-2, -2}, {2, 1}, 4, 0},
	};
	float scale = 0;
	int8_t zero = 0;

	(void)state;
	assert_non_null(count);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(asymmetric("activation-scale=minmax", cases[i].least, cases[i].greatest, NULL, &scale, &zero), 0);
		assert_true(scale == as_bf16((float)(cases[i].range / 255)));
		assert_true(abs(zero - cases[i].zero) <= 1);
		const float low = fminf(cases[i].least[0], cases[i].least[1]), high = fmaxf(cases[i].greatest[0], cases[i].greatest[1]);
		/* Rounding of scale and zero point costs a code at either end. */
		assert_true((-128 - (float)zero) * scale <= low + 1.5f * scale && (127 - (float)zero) * scale >= high - 1.5f * scale);
	}
	/* Nine of ten lie within 1, and one far above: below, nothing is cut. */
	const float least[2] = {-0.25f, -0.5f}, greatest[2] = {1, 50};
	count_in(count, 0.9f, 90);
	count_in(count, 50, 10);
	assert_int_equal(asymmetric("activation-scale=percentile", least, greatest, count, &scale, &zero), 0);
	assert_true(scale > 1.4f / 255 && scale < 1.45f / 255);
	assert_true(zero == (int)rintf(-128 + 0.5f / scale));
	/* The least error is at the whole range, where so many would be cut. */
	assert_int_equal(asymmetric("activation-scale=mse", least, greatest, count, &scale, &zero), 0);
	assert_true(scale > 45.0f / 255 && scale <= as_bf16(50.5f / 255));
	free(count);
}

static void test_asymmetric_refused(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "activations=dynamic", "activation-symmetric=false");
	struct cwp_grid g;
	char err[256];

	(void)state;
	assert_int_equal(q->grid(s, 4, 4, &g, err, sizeof(err)), CWP_EVALUE);
	assert_string_equal(err, "activation-symmetric: false is for activations static, not dynamic");
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fp8),
		cmocka_unit_test(test_static_tensor),
		cmocka_unit_test(test_odd_numbers),
		cmocka_unit_test(test_exact_int8),
		cmocka_unit_test(test_input_scales),
		cmocka_unit_test(test_least_input_error),
		cmocka_unit_test(test_asymmetric_inputs),
		cmocka_unit_test(test_asymmetric_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
