/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The project's quantizers: grids, refusals, error bounds, protected weights, odd numbers, tiles of any height. */
#include <float.h>
#include <math.h>

#include <cwp/quantizer.h>

#include "tests/plugins/common.h"

enum { ROWS = 19, COLS = 96, STRIDE = 13, MAX_SCALES = COLS / 8 };

struct data {
	float weight[ROWS * COLS];
	uint8_t mask[ROWS * STRIDE];
	uint8_t codes[ROWS * COLS];
	float scales[ROWS * MAX_SCALES];
	int8_t zeros[ROWS * MAX_SCALES];
};

static struct data *data_new(void)
{
	struct data *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		d->weight[i] = weight_at(9, i);
	}
	return d;
}

static int protected_at(const struct data *d, int r, int c)
{
	return mask_at(d->mask, STRIDE, (uint64_t)r, (uint64_t)c);
}

static void protect(struct data *d, int r, int c)
{
	d->mask[r * STRIDE + c / 8] |= (uint8_t)(1 << (c % 8));
}

static uint64_t scales_of(const struct cwp_grid *g)
{
	return g->group != 0 ? (COLS + g->group - 1) / g->group : 1;
}

static int run_rows(const struct cwp_quantizer *q, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d, int masked, int row,
	int rows)
{
	const size_t at = (size_t)row * COLS, scale_at = (size_t)row * scales_of(g);
	struct cwp_quantizer_tile tile = {.size = sizeof(tile),
		.row = (uint64_t)row,
		.rows = (uint64_t)rows,
		.cols = COLS,
		.weight = d->weight + at,
		.mask = masked ? d->mask + (size_t)row * STRIDE : NULL,
		.mask_stride = STRIDE};
	struct cwp_quantizer_result result = {.size = sizeof(result),
		.codes = d->codes + at,
		.scales = d->scales + scale_at,
		.zeros = g->symmetric ? NULL : d->zeros + scale_at};

	return q->quantize(s, g, &tile, &result);
}

/* The whole matrix; the same bytes must come from tiles of any height. */
static void run(const struct cwp_quantizer *q, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d, int masked)
{
	struct data *tiled = malloc(sizeof(*tiled));

	assert_non_null(tiled);
	assert_int_equal(run_rows(q, s, g, d, masked, 0, ROWS), 0);
	for (int height = 1; height < ROWS; height += 5) {
		memcpy(tiled, d, sizeof(*tiled));
		memset(tiled->codes, 0x55, sizeof(tiled->codes));
		memset(tiled->scales, 0x55, sizeof(float) * ROWS * scales_of(g));
		if (!g->symmetric) {
			memset(tiled->zeros, 0x55, ROWS * scales_of(g));
		}
		for (int row = 0; row < ROWS; row += height) {
			assert_int_equal(run_rows(q, s, g, tiled, masked, row, ROWS - row < height ? ROWS - row : height), 0);
		}
		assert_memory_equal(tiled, d, sizeof(*tiled));
	}
	assert_int_equal(run_rows(q, s, g, d, masked, 0, 0), 0);
	free(tiled);
}

static float e4m3_value(uint8_t code)
{
	int exponent = code >> 3 & 15, fraction = code & 7;
	float v = exponent == 0 ? ldexpf((float)fraction, -9) : ldexpf(1 + (float)fraction / 8, exponent - 7);

	return code & 0x80 ? -v : v;
}

static float value_at(const struct data *d, const struct cwp_grid *g, int r, int c)
{
	const size_t i = (size_t)r * scales_of(g) + (g->group != 0 ? (size_t)c / g->group : 0);
	const uint8_t code = d->codes[r * COLS + c];
	float number = g->code == CWP_CODE_E4M3 ? e4m3_value(code) : (float)((int8_t)code - (g->symmetric ? 0 : d->zeros[i]));

	return number * d->scales[i];
}

/* All that holds for any result: usable BF16 scales, codes in range, unprotected weights within half a step. */
static void check(const struct data *d, const struct cwp_grid *g, int masked)
{
	const int top = (1 << (g->bits - 1)) - 1;

	for (size_t i = 0; i < ROWS * scales_of(g); i++) {
		uint32_t bits;
		memcpy(&bits, &d->scales[i], 4);
		assert_int_equal(bits & 0xffff, 0);
		assert_true(d->scales[i] >= FLT_MIN && isfinite(d->scales[i]));
	}
	for (int r = 0; r < ROWS; r++) {
		for (int c = 0; c < COLS; c++) {
			const float w = d->weight[r * COLS + c];
			const float step = d->scales[(size_t)r * scales_of(g) + (g->group != 0 ? (size_t)c / g->group : 0)];
			const int8_t code = (int8_t)d->codes[r * COLS + c];
			if (g->code == CWP_CODE_INT) {
				assert_in_range(code + top + 1, 0, 2 * top + 1);
			} else {
				assert_true((d->codes[r * COLS + c] & 0x7f) != 0x7f);
			}
			if (masked && protected_at(d, r, c)) {
				continue;
			}
			/* Rounding the scale to BF16 can take up to 1/256 of the largest value away from the ends. */
			double room = g->code == CWP_CODE_INT ? 0.5 * (double)step + (double)fabsf(w) / 256 + (g->symmetric ? 0 : 0.5 * (double)step)
							      : fabs((double)w) / 16 + (double)step * 0x1p-10;
			if (!(fabs((double)value_at(d, g, r, c) - (double)w) <= room * 1.0001)) {
				fail_msg("row %d, column %d: %g became %g with step %g", r, c, (double)w, (double)value_at(d, g, r, c),
					(double)step);
			}
		}
	}
}

static struct cwp_grid grid_of(const struct cwp_quantizer *q, const struct cwp_setting *s, uint64_t cols)
{
	struct cwp_grid g;
	char text[256] = "";

	if (q->grid(s, ROWS, cols, &g, text, sizeof(text)) < 0) {
		fail_msg("%s", text);
	}
	assert_int_equal(g.size, sizeof(g));
	assert_int_equal(q->needs(s), 0);
	return g;
}

static void test_static_forms(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	static const char *const bits[] = {"bits=8", "bits=4", "bits=3", "bits=2"};
	static const char *const granularity[] = {"granularity=channel", "granularity=group"};
	static const char *const symmetric[] = {"symmetric=true", "symmetric=false"};
	struct data *d = data_new();

	(void)state;
	for (int b = 0; b < 4; b++) {
		for (int n = 0; n < 2; n++) {
			for (int y = 0; y < 2; y++) {
				struct cwp_setting *s = SETTINGS(&p, bits[b], granularity[n], symmetric[y], "group=32");
				struct cwp_grid g = grid_of(q, s, COLS);
				assert_int_equal(g.bits, bits[b][5] - '0');
				assert_int_equal(g.symmetric, y == 0);
				assert_int_equal(g.granularity, n == 0 ? CWP_PER_CHANNEL : CWP_PER_GROUP);
				assert_int_equal(g.group, n == 0 ? 0 : 32);
				assert_int_equal(g.activation, CWP_ACT_NONE);
				run(q, s, &g, d, 0);
				check(d, &g, 0);
				cwe_settings_free(p.descriptor, s);
			}
		}
	}
	free(d);
	free(p.path);
}

static void test_scales_exactly(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "bits=4", "granularity=group", "group=8");
	struct cwp_setting *asymmetric = SETTINGS(&p, "bits=4", "granularity=group", "group=8", "symmetric=false");
	struct cwp_grid g = grid_of(q, s, COLS);
	struct data *d = data_new();

	(void)state;
	for (int c = 0; c < 8; c++) {
		d->weight[c] = 0.25f * (float)(c - 7);      /* -1.75 .. 0: scale 0.25 */
		d->weight[8 + c] = 100.0f * (float)c / 7;   /* scale 100/7 = 14.285714, as BF16 14.3125 */
	}
	run(q, s, &g, d, 0);
	assert_true(d->scales[0] == 0.25f);
	assert_true(d->scales[1] == 14.3125f);
	for (int c = 0; c < 8; c++) {
		assert_int_equal((int8_t)d->codes[c], c - 7);
		assert_int_equal((int8_t)d->codes[8 + c], c);
	}
	g = grid_of(q, asymmetric, COLS);
	for (int c = 0; c < 8; c++) {
		d->weight[c] = 0.5f * (float)(2 * c + 1);      /* 0.5 .. 7.5: zero included, scale 0.5, zero at code -8 */
		d->weight[8 + c] = 0.25f * (float)(2 * c - 4); /* -1 .. 2.5: scale 3.5/15 = 0.23333, as BF16 0.233398 */
	}
	run(q, asymmetric, &g, d, 0);
	assert_true(d->scales[0] == 0.5f);
	assert_int_equal(d->zeros[0], -8);
	for (int c = 0; c < 8; c++) {
		assert_int_equal((int8_t)d->codes[c], -8 + 2 * c + 1);
	}
	assert_true(d->scales[1] == 0.2333984375f);
	assert_int_equal(d->zeros[1], -4);
	assert_int_equal((int8_t)d->codes[8], -8);
	assert_int_equal((int8_t)d->codes[15], 7);
	check(d, &g, 0);
	cwe_settings_free(p.descriptor, s);
	cwe_settings_free(p.descriptor, asymmetric);
	free(d);
	free(p.path);
}

static double squared_errors(const struct data *d, const struct cwp_grid *g, int masked, int r, int first, int n)
{
	double sum = 0;

	for (int c = first; c < first + n; c++) {
		double e = (double)value_at(d, g, r, c) - (double)d->weight[r * COLS + c];
		sum += masked && protected_at(d, r, c) ? 0 : e * e;
	}
	return sum;
}

static float as_bf16(double v)
{
	uint32_t u;
	float f = (float)v;

	memcpy(&u, &f, 4);
	u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
	memcpy(&f, &u, 4);
	return f;
}

/* The least sum of squared errors of the ranges 1.00 .. 0.40, searched in another way; symmetric. */
static double best_error(const struct data *d, int r, int first, int n, int bits)
{
	const double top = (1 << (bits - 1)) - 1;
	double largest = 0, best = INFINITY;

	for (int c = first; c < first + n; c++) {
		double a = fabs((double)d->weight[r * COLS + c]);
		largest = !protected_at(d, r, c) && a > largest ? a : largest;
	}
	for (int k = 0; k <= 60; k++) {
		const double scale = (double)as_bf16((double)((float)largest * (1 - 0.01f * (float)k) / (float)top));
		double sum = 0;
		for (int c = first; c < first + n; c++) {
			const double w = (double)d->weight[r * COLS + c];
			double q = nearbyint((double)((float)w / (float)scale));
			q = q > top ? top : q < -top - 1 ? -top - 1 : q;
			sum += protected_at(d, r, c) ? 0 : (q * scale - w) * (q * scale - w);
		}
		best = sum < best ? sum : best;
	}
	return best;
}

static void test_scale_of_least_error(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	static const char *const bits[] = {"bits=2", "bits=3", "bits=4", "bits=8"};
	static const char *const symmetric[] = {"symmetric=true", "symmetric=false"};
	struct data *d = data_new();
	struct data *plain = malloc(sizeof(*plain));

	(void)state;
	assert_non_null(plain);
	for (int i = 0; i < ROWS * STRIDE; i++) {
		d->mask[i] = (uint8_t)(i % 3 == 0 ? 1 << (i % 8) : 0);
	}
	for (int b = 0; b < 4; b++) {
		for (int y = 0; y < 2; y++) {
			struct cwp_setting *s = SETTINGS(&p, bits[b], symmetric[y], "granularity=group", "group=32", "scale=mse");
			struct cwp_setting *a = SETTINGS(&p, bits[b], symmetric[y], "granularity=group", "group=32", "scale=absmax");
			struct cwp_grid g = grid_of(q, s, COLS);
			int better = 0;
			memcpy(plain, d, sizeof(*plain));
			run(q, a, &g, plain, 1);
			run(q, s, &g, d, 1);
			for (int r = 0; r < ROWS; r++) {
				for (int first = 0; first < COLS; first += 32) {
					const double ours = squared_errors(d, &g, 1, r, first, 32);
					const double theirs = squared_errors(plain, &g, 1, r, first, 32);
					assert_true(ours <= theirs);
					better += ours < theirs;
					if (y == 0) {
						const double best = best_error(d, r, first, 32, g.bits);
						assert_true(fabs(ours - best) <= 1e-6 * best);
					}
				}
			}
			assert_true(better > (b < 2 ? ROWS : b < 3 ? 3 : -1)); /* of 57; 8 bits have little to gain */
			/* Protected weights do not move it. */
			memcpy(plain, d, sizeof(*plain));
			for (int r = 0; r < ROWS; r++) {
				for (int c = 0; c < COLS; c++) {
					plain->weight[r * COLS + c] = protected_at(d, r, c) ? 1e30f : d->weight[r * COLS + c];
				}
			}
			run(q, s, &g, plain, 1);
			assert_memory_equal(plain->scales, d->scales, sizeof(d->scales));
			cwe_settings_free(p.descriptor, s);
			cwe_settings_free(p.descriptor, a);
		}
	}
	free(plain);
	free(d);
	free(p.path);
}

static int by_value(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void test_scale_of_percentile(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	static const struct {
		const char *text;
		double share;
	} cases[] = {{"percentile=50", 0.5}, {"percentile=90", 0.9}, {"percentile=99", 0.99}, {"percentile=100", 1}};
	struct data *d = data_new();

	(void)state;
	for (int r = 0; r < ROWS; r++) {
		protect(d, r, r % COLS);
		d->weight[r * COLS + r % COLS] = 1e6f; /* would be every row's end */
	}
	for (int i = 0; i < 4; i++) {
		struct cwp_setting *s = SETTINGS(&p, "bits=4", "scale=percentile", cases[i].text);
		struct cwp_setting *a = SETTINGS(&p, "bits=4", "scale=percentile", cases[i].text, "symmetric=false");
		struct cwp_grid g = grid_of(q, s, COLS), ga = grid_of(q, a, COLS);
		const size_t rank = (size_t)ceil(cases[i].share * (COLS - 1));
		run(q, s, &g, d, 1);
		for (int r = 0; r < ROWS; r++) {
			float v[COLS];
			int n = 0;
			for (int c = 0; c < COLS; c++) {
				v[n] = fabsf(d->weight[r * COLS + c]);
				n += !protected_at(d, r, c);
			}
			qsort(v, (size_t)n, sizeof(*v), by_value);
			assert_true(d->scales[r] == as_bf16((double)(v[rank - 1] / 7)));
		}
		run(q, a, &ga, d, 1);
		for (int r = 0; r < ROWS; r++) {
			float v[COLS];
			int n = 0;
			for (int c = 0; c < COLS; c++) {
				v[n] = d->weight[r * COLS + c];
				n += !protected_at(d, r, c);
			}
			qsort(v, (size_t)n, sizeof(*v), by_value);
			const double high = fmax(0, (double)v[rank - 1]), low = fmin(0, (double)v[(size_t)n - rank]);
			assert_true(d->scales[r] == as_bf16((double)(float)((high - low) / 15)));
		}
		cwe_settings_free(p.descriptor, s);
		cwe_settings_free(p.descriptor, a);
	}
	free(d);
	free(p.path);
}

static void test_groups_that_do_not_fit(void **state)
{
	struct cwe_plugin p = open_plugin("static");
	const struct cwp_quantizer *q = p.interface;
	static const struct {
		const char *group;
		uint64_t cols;
		uint32_t got, fallback;
	} cases[] = {{"group=128", 1536, 128, 0}, {"group=128", 576, 64, 1}, {"group=128", 96, 32, 1}, {"group=64", 576, 64, 0},
		{"group=128", 40, 8, 1}, {"group=128", 44, 0, 1}, {"group=128", 3, 0, 1}, {"group=96", 576, 96, 0}, {"group=100", 576, 0, 1},
		{"group=8", 16, 8, 0}, {"group=65536", 64, 64, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cwp_setting *s = SETTINGS(&p, "granularity=group", "bits=4", cases[i].group);
		struct cwp_grid g = grid_of(q, s, cases[i].cols);
		assert_int_equal(g.group, cases[i].got);
		assert_int_equal(g.fallback, cases[i].fallback);
		assert_int_equal(g.granularity, cases[i].got != 0 ? CWP_PER_GROUP : CWP_PER_CHANNEL);
		cwe_settings_free(p.descriptor, s);
	}
	free(p.path);
}

static void refuses(const struct cwe_plugin *p, const char *a, const char *b, const char *text)
{
	const struct cwp_quantizer *q = p->interface;
	struct cwp_setting *s = SETTINGS(p, a, b);
	struct cwp_grid g;
	char message[256] = "";

	assert_int_equal(q->grid(s, 8, 64, &g, message, sizeof(message)), CWP_EVALUE);
	if (strstr(message, text) == NULL) {
		fail_msg("'%s' lacks '%s'", message, text);
	}
	/* The text is optional, and never longer than its buffer. */
	assert_int_equal(q->grid(s, 8, 64, &g, NULL, 0), CWP_EVALUE);
	memset(message, 'x', sizeof(message));
	assert_int_equal(q->grid(s, 8, 64, &g, message, 5), CWP_EVALUE);
	assert_int_equal(strlen(message), 4);
	assert_int_equal(message[5], 'x');
	cwe_settings_free(p->descriptor, s);
}

static void test_refusals(void **state)
{
	struct cwe_plugin p = open_plugin("static"), i8 = open_plugin("int8"), f8 = open_plugin("fp8");

	(void)state;
	refuses(&p, "activations=static", "bits=3", "static needs bits 8 and granularity channel or tensor, not bits 3");
	refuses(&p, "activations=dynamic", "bits=4", "needs bits 8 and granularity channel or tensor, not bits 4");
	refuses(&p, "activations=dynamic", "granularity=group", "not bits 8 and granularity group");
	refuses(&f8, "granularity=block", "activations=static", "static does not go with granularity block");
	refuses(&f8, "granularity=block", "activations=dynamic", "a width that 128 divides, not 64");
	const struct cwe_plugin *all[] = {&p, &i8, &f8};
	for (int i = 0; i < 3; i++) {
		const struct cwp_quantizer *q = all[i]->interface;
		struct cwp_setting *s = settings_of(all[i], NULL);
		struct cwp_grid g;
		char text[128] = "";
		assert_int_equal(q->grid(s, 0, 5, &g, text, sizeof(text)), CWP_EVALUE);
		assert_non_null(strstr(text, "0 x 5"));
		assert_int_equal(q->grid(s, 5, 0, &g, NULL, 0), CWP_EVALUE);
		cwe_settings_free(all[i]->descriptor, s);
		free(all[i]->path);
	}
}

static void test_int8_and_fp8(void **state)
{
	struct cwe_plugin i8 = open_plugin("int8"), f8 = open_plugin("fp8");
	struct cwp_setting *s = SETTINGS(&i8, "threshold=4.5");
	struct data *d = data_new();

	(void)state;
	struct cwp_grid g = grid_of(i8.interface, s, COLS);
	assert_int_equal(g.activation, CWP_ACT_INT8_OUTLIER);
	assert_true(g.threshold == 4.5f);
	assert_int_equal(g.granularity, CWP_PER_CHANNEL);
	run(i8.interface, s, &g, d, 0);
	check(d, &g, 0);
	cwe_settings_free(i8.descriptor, s);
	s = SETTINGS(&i8, "activations=none");
	g = grid_of(i8.interface, s, COLS);
	assert_int_equal(g.activation, CWP_ACT_NONE);
	assert_true(g.threshold == 0);
	cwe_settings_free(i8.descriptor, s);
	s = settings_of(&f8, NULL);
	g = grid_of(f8.interface, s, COLS);
	assert_int_equal(g.code, CWP_CODE_E4M3);
	assert_int_equal(g.activation, CWP_ACT_FP8_TOKEN);
	run(f8.interface, s, &g, d, 0);
	check(d, &g, 0);
	cwe_settings_free(f8.descriptor, s);
	s = SETTINGS(&f8, "activations=none");
	g = grid_of(f8.interface, s, COLS);
	assert_int_equal(g.activation, CWP_ACT_NONE);
	cwe_settings_free(f8.descriptor, s);
	free(d);
	free(i8.path);
	free(f8.path);
}

/* Each quantizer in the forms that differ in how scales come about. */
static const struct form {
	const char *plugin, *a, *b, *c;
} forms[] = {{"static", "bits=4", "granularity=group", "group=16"}, {"static", "bits=8", "granularity=channel", "symmetric=true"},
	{"static", "bits=4", "granularity=group", "symmetric=false"}, {"static", "bits=3", "granularity=channel", "symmetric=false"},
	{"static", "bits=8", "scale=percentile", "percentile=100"},
	{"int8", "activations=none", NULL, NULL}, {"fp8", "activations=none", NULL, NULL}};

static void each_form(void (*body)(const struct cwp_quantizer *q, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d))
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct cwe_plugin p = open_plugin(forms[i].plugin);
		struct cwp_setting *s = SETTINGS(&p, forms[i].a, forms[i].b, forms[i].c);
		struct cwp_grid g = grid_of(p.interface, s, COLS);
		struct data *d = data_new();
		body(p.interface, s, &g, d);
		free(d);
		cwe_settings_free(p.descriptor, s);
		free(p.path);
	}
}

static void protected_form(const struct cwp_quantizer *q, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d)
{
	float *before = malloc(sizeof(d->scales));

	assert_non_null(before);
	run(q, s, g, d, 1);
	memcpy(before, d->scales, sizeof(d->scales));
	/* A protected weight may be as large as it likes: the others' scales do not move. */
	for (int r = 0; r < ROWS; r++) {
		for (int c = r % 5; c < COLS; c += 7) {
			protect(d, r, c);
		}
	}
	run(q, s, g, d, 1);
	memcpy(before, d->scales, sizeof(d->scales));
	for (int r = 0; r < ROWS; r++) {
		for (int c = r % 5; c < COLS; c += 7) {
			d->weight[r * COLS + c] = c % 2 ? 1e30f : -FLT_MAX;
		}
	}
	run(q, s, g, d, 1);
	assert_memory_equal(before, d->scales, sizeof(d->scales));
	check(d, g, 1);
	/* A row without an unprotected weight, and one of zeros, get the harmless scale. */
	for (int c = 0; c < COLS; c++) {
		protect(d, 3, c);
		d->weight[4 * COLS + c] = 0;
		d->weight[5 * COLS + c] = FLT_TRUE_MIN * (float)(c % 3);
	}
	memset(d->mask + 4 * STRIDE, 0, 2 * STRIDE);
	run(q, s, g, d, 1);
	check(d, g, 1);
	for (uint64_t i = 3 * scales_of(g); i < 6 * scales_of(g); i++) {
		assert_true(d->scales[i] == 1.0f);
	}
	for (int c = 0; c < COLS; c++) {
		assert_true(value_at(d, g, 4, c) == 0);
		assert_true(value_at(d, g, 5, c) == 0);
	}
	free(before);
}

static void test_protected(void **state)
{
	(void)state;
	each_form(protected_form);
}

static void odd_form(const struct cwp_quantizer *q, const struct cwp_setting *s, const struct cwp_grid *g, struct data *d)
{
	const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};

	for (int i = 0; i < 4; i++) {
		float *w = &d->weight[(ROWS - 1) * COLS + i * 31], saved = *w;
		*w = bad[i];
		assert_int_equal(run_rows(q, s, g, d, 0, 0, ROWS), CWP_ENUMBER);
		/* Protection does not excuse it: such a weight has no exact value to keep. */
		protect(d, ROWS - 1, i * 31);
		assert_int_equal(run_rows(q, s, g, d, 1, 0, ROWS), CWP_ENUMBER);
		*w = saved;
	}
	/* The largest and smallest numbers there are. */
	for (int c = 0; c < COLS; c++) {
		d->weight[c] = c % 2 ? FLT_MAX : -FLT_MAX;
		d->weight[COLS + c] = FLT_MIN * (float)(c + 200);
	}
	assert_int_equal(run_rows(q, s, g, d, 0, 0, ROWS), 0);
	for (uint64_t i = 0; i < 2 * scales_of(g); i++) {
		assert_true(isfinite(d->scales[i]) && d->scales[i] >= FLT_MIN);
	}
	/* A grid of another quantizer. */
	struct cwp_grid other = *g;
	other.code = g->code == CWP_CODE_INT ? CWP_CODE_E4M3 : CWP_CODE_INT;
	assert_int_equal(run_rows(q, s, &other, d, 0, 0, ROWS), CWP_EVALUE);
	other = *g;
	other.granularity = CWP_PER_BLOCK + 1;
	assert_int_equal(run_rows(q, s, &other, d, 0, 0, ROWS), CWP_EVALUE);
}

static void test_odd_numbers(void **state)
{
	(void)state;
	each_form(odd_form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_static_forms),
		cmocka_unit_test(test_scales_exactly),
		cmocka_unit_test(test_scale_of_least_error),
		cmocka_unit_test(test_scale_of_percentile),
		cmocka_unit_test(test_groups_that_do_not_fit),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_int8_and_fp8),
		cmocka_unit_test(test_protected),
		cmocka_unit_test(test_odd_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
