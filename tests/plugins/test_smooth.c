/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AWQ and SmoothQuant of the quantizer static: which scales are tried and which is taken, ranges against a search in f64,
 * protected weights, queries and keys, and settings that contradict each other. */
#include <errno.h>
#include <math.h>

#include <cwp/error.h>
#include <cwp/quantizer.h>

#include "tests/plugins/common.h"

enum { CHANNELS = 24, RATIOS = 20, ROWS = 37, COLS = 96, STRIDE = COLS / 8, GROUP = 32, GROUPS = COLS / GROUP, STEPS = 20 };

static struct cwe_plugin plugin;
static struct cwe_pool *pool;
static struct cwe_host host;

/* ---- scales ---- */

struct asked {
	float tried[RATIOS + 1][CHANNELS];
	double error[RATIOS + 1];
	int count, fail_at;
};

static int error_of(void *ctx, const float *scale, double *ret)
{
	struct asked *a = ctx;

	if (a->count == a->fail_at) {
		return CWP_ENUMBER;
	}
	assert_true(a->count < RATIOS);
	memcpy(a->tried[a->count], scale, sizeof(a->tried[0]));
	*ret = a->error[a->count++];
	return 0;
}

struct shown {
	double abs[CHANNELS];
	float absmax[CHANNELS], weight[CHANNELS];
	struct asked asked;
	struct cwp_quantizer_input input;
};

static void show(struct shown *s)
{
	memset(s, 0, sizeof(*s));
	for (uint64_t i = 0; i < CHANNELS; i++) {
		s->abs[i] = 50 * exp2((double)(i * 7 % CHANNELS) / 2 - 6);
		s->absmax[i] = 0.1f * (float)(i + 1);
		s->weight[i] = 2.0f / (float)(i + 3);
	}
	s->asked.fail_at = -1;
	for (int i = 0; i < RATIOS; i++) {
		s->asked.error[i] = 1 + fabs(i - 7.0);
	}
	s->input = (struct cwp_quantizer_input){.size = sizeof(s->input), .name = "m", .channels = CHANNELS, .tokens = 50, .act_abs = s->abs,
		.act_absmax = s->absmax, .weight_absmax = s->weight, .ctx = &s->asked, .error = error_of};
}

static void test_awq_scales(void **state)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_setting *s = SETTINGS(&plugin, "algorithm=awq", "bits=4");
	struct shown x;
	float scale[CHANNELS];

	(void)state;
	show(&x);
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), 0);
	assert_int_equal(x.asked.count, RATIOS);
	for (int r = 0; r < RATIOS; r++) {
		double want[CHANNELS], least = INFINITY, most = 0;
		for (int i = 0; i < CHANNELS; i++) {
			want[i] = fmax(pow(x.abs[i] / 50, r * 0.05), 1e-4);
			least = fmin(least, want[i]);
			most = fmax(most, want[i]);
		}
		for (int i = 0; i < CHANNELS; i++) {
			assert_true(fabs((double)x.asked.tried[r][i] * sqrt(least * most) / want[i] - 1) <= 1e-6);
		}
	}
	assert_memory_equal(scale, x.asked.tried[7], sizeof(scale));
	/* The first of equals. */
	show(&x);
	x.asked.error[3] = x.asked.error[7];
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), 0);
	assert_memory_equal(scale, x.asked.tried[3], sizeof(scale));
	/* A channel that was never used gets the least scale. */
	show(&x);
	x.abs[5] = 0;
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), 0);
	for (int i = 0; i < CHANNELS; i++) {
		assert_true(scale[i] > 0 && isfinite(scale[i]) && scale[i] >= scale[5]);
	}
	show(&x);
	x.asked.fail_at = 11;
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), CWP_ENUMBER);
	atomic_store(&host.cancelled, 1);
	show(&x);
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), CWP_ECANCELLED);
	atomic_store(&host.cancelled, 0);
	cwe_settings_free(plugin.descriptor, s);
}

static void smoothquant(double alpha)
{
	const struct cwp_quantizer *q = plugin.interface;
	char text[32];
	snprintf(text, sizeof(text), "alpha=%g", alpha);
	struct cwp_setting *s = SETTINGS(&plugin, "algorithm=smoothquant", "bits=8", "activations=dynamic", text);
	struct shown x;
	float scale[CHANNELS];

	show(&x);
	x.absmax[2] = 0;
	x.weight[4] = 0;
	x.absmax[6] = 1e-30f;
	assert_int_equal(q->smooth(&host.table, s, &x.input, scale), 0);
	assert_int_equal(x.asked.count, 0);
	for (int i = 0; i < CHANNELS; i++) {
		double want = fmax(pow((double)x.absmax[i], alpha) / pow((double)x.weight[i], 1 - alpha), 1e-5);
		want = i == 2 || i == 4 ? 1 : want;
		assert_true(fabs((double)scale[i] / want - 1) <= 1e-6);
	}
	cwe_settings_free(plugin.descriptor, s);
}

static void test_smoothquant(void **state)
{
	(void)state;
	smoothquant(0.5);
	smoothquant(0.8);
	smoothquant(0);
	smoothquant(1);
}

/* ---- what smoothing is for ---- */

enum { TOKENS = 64, OUT = 20 };

struct smoothed {
	float x[TOKENS * CHANNELS], w[OUT * CHANNELS];
	float scaled[OUT * CHANNELS], scales[OUT];
	uint8_t codes[OUT * CHANNELS];
};

/* Squared error of x w^T with int8 weights behind `scale` and int8 inputs by token. */
static double int8_error(const struct cwp_setting *s, struct smoothed *d, const float *scale)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_grid g;
	char err[128];
	double sum = 0;

	for (int i = 0; i < OUT * CHANNELS; i++) {
		d->scaled[i] = d->w[i] * scale[i % CHANNELS];
	}
	assert_int_equal(q->grid(s, OUT, CHANNELS, &g, err, sizeof(err)), 0);
	struct cwp_quantizer_tile tile = {.size = sizeof(tile), .rows = OUT, .cols = CHANNELS, .weight = d->scaled};
	struct cwp_quantizer_result result = {.size = sizeof(result), .codes = d->codes, .scales = d->scales};
	assert_int_equal(q->quantize(s, &g, &tile, &result), 0);
	for (int t = 0; t < TOKENS; t++) {
		float x[CHANNELS], most = 0;
		for (int c = 0; c < CHANNELS; c++) {
			x[c] = d->x[t * CHANNELS + c] / scale[c];
			most = fmaxf(most, fabsf(x[c]));
		}
		for (int o = 0; o < OUT; o++) {
			double want = 0, got = 0;
			for (int c = 0; c < CHANNELS; c++) {
				const double step = (double)most / 127.5, code = fmax(fmin(rint((double)x[c] / step), 127), -128);
				got += code * step * (double)(int8_t)d->codes[o * CHANNELS + c] * (double)d->scales[o];
				want += (double)d->x[t * CHANNELS + c] * (double)d->w[o * CHANNELS + c];
			}
			sum += (got - want) * (got - want);
		}
	}
	return sum;
}

/* Inputs of which some channels are far greater than the others: their scales are the published ones, and much of the error that
 * they cause is gone; without such channels nothing is lost. */
static void test_smoothing_helps(void **state)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_setting *s = SETTINGS(&plugin, "algorithm=smoothquant", "bits=8", "activations=dynamic");
	struct smoothed *d = calloc(1, sizeof(*d));
	const float ones[CHANNELS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

	(void)state;
	assert_non_null(d);
	for (int outliers = 0; outliers < 2; outliers++) {
		float absmax[CHANNELS] = {0}, weight[CHANNELS] = {0}, scale[CHANNELS];
		for (int i = 0; i < TOKENS * CHANNELS; i++) {
			const int c = i % CHANNELS;
			d->x[i] = weight_at(31, (uint64_t)i) * (outliers && (c == 3 || c == 17) ? 60.0f : 1.0f);
			absmax[c] = fmaxf(absmax[c], fabsf(d->x[i]));
		}
		for (int i = 0; i < OUT * CHANNELS; i++) {
			d->w[i] = weight_at(32, (uint64_t)i);
			weight[i % CHANNELS] = fmaxf(weight[i % CHANNELS], fabsf(d->w[i]));
		}
		struct cwp_quantizer_input in = {.size = sizeof(in), .name = "m", .channels = CHANNELS, .tokens = TOKENS, .act_absmax = absmax,
			.weight_absmax = weight};
		assert_int_equal(q->smooth(&host.table, s, &in, scale), 0);
		for (int c = 0; c < CHANNELS; c++) {
			assert_true(fabs((double)scale[c] / sqrt((double)absmax[c] / (double)weight[c]) - 1) <= 1e-6);
		}
		const double plain = int8_error(s, d, ones), smooth = int8_error(s, d, scale);
		assert_true(plain > 0 && smooth > 0);
		assert_true(outliers ? smooth < 0.4 * plain : smooth < 1.2 * plain);
	}
	free(d);
	cwe_settings_free(plugin.descriptor, s);
}

/* ---- ranges ---- */

struct data {
	float weight[ROWS * COLS], gram[COLS * COLS];
	uint8_t mask[ROWS * STRIDE];
	uint8_t codes[ROWS * COLS];
	float scales[ROWS * COLS], exact[ROWS * COLS];
	int8_t zeros[ROWS * COLS];
};

static struct data *data_new(void)
{
	struct data *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		d->weight[i] = weight_at(9, i);
		d->mask[i / COLS * STRIDE + i % COLS / 8] |= (uint8_t)((weight_at(10, i) > 0.12f) << i % COLS % 8);
	}
	for (uint64_t t = 0; t < 60; t++) {
		for (uint64_t i = 0; i < COLS; i++) {
			for (uint64_t k = 0; k < COLS; k++) {
				d->gram[i * COLS + k] += (weight_at(11, t * COLS + i) + weight_at(12, t)) * (weight_at(11, t * COLS + k) + weight_at(12, t)) * 900;
			}
		}
	}
	return d;
}

static int run(const struct cwp_setting *s, struct data *d, int masked, uint32_t flags, int *ret_state, struct cwp_grid *g)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_quantizer_module m = {.size = sizeof(m), .flags = flags, .name = "m", .rows = ROWS, .cols = COLS, .tokens = 60,
		.weight = d->weight, .mask = masked ? d->mask : NULL, .mask_stride = STRIDE, .gram = d->gram};
	char note[64] = "", err[128];
	void *state = NULL;

	assert_int_equal(q->grid(s, ROWS, COLS, g, err, sizeof(err)), 0);
	int rc = q->prepare(&host.table, s, g, &m, &state, note, sizeof(note));
	assert_string_equal(note, "");
	*ret_state = state != NULL;
	memcpy(d->exact, d->weight, sizeof(d->exact));
	const uint64_t n = g->group != 0 ? COLS / g->group : 1;
	for (uint64_t row = 0; rc == 0 && row < ROWS; row += 10) {
		struct cwp_quantizer_tile tile = {.size = sizeof(tile), .row = row, .rows = ROWS - row < 10 ? ROWS - row : 10, .cols = COLS,
			.weight = d->weight + row * COLS, .mask = masked ? d->mask + row * STRIDE : NULL, .mask_stride = STRIDE, .state = state};
		struct cwp_quantizer_result result = {.size = sizeof(result), .codes = d->codes + row * COLS, .scales = d->scales + row * n,
			.zeros = g->symmetric ? NULL : d->zeros + row * n, .exact = masked && state != NULL ? d->exact + row * COLS : NULL};
		rc = q->quantize(s, g, &tile, &result);
	}
	q->release(state);
	return rc;
}

/* Rounds to BF16. */
static double scale_bf16(double v)
{
	float f = (float)v;
	uint32_t u;
	memcpy(&u, &f, 4);
	u = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u;
	memcpy(&f, &u, 4);
	return (double)f;
}

/* e (x x^T) e^T of a group's errors with the range at a part of absmax; its scale. */
static double group_error(const struct data *d, int masked, int symmetric, uint64_t r, uint64_t first, uint64_t n, float part, double *ret_scale)
{
	double low = 0, high = 0, e[COLS], sum = 0;
	for (uint64_t c = first; c < first + n; c++) {
		double w = masked && mask_at(d->mask, STRIDE, r, c) ? 0 : (double)d->weight[r * COLS + c];
		low = fmin(low, w);
		high = fmax(high, w);
	}
	double most = (double)((float)fmax(high, -low) * part), scale, zero = 0;
	if (symmetric) {
		scale = scale_bf16((double)((float)most / 7.0f));
	} else {
		low = fmax(low, -most);
		high = fmin(high, most);
		scale = scale_bf16((high - low) / 15);
		zero = fmin(fmax(rint((double)((float)-low / (float)scale)) - 8, -8), 7);
	}
	for (uint64_t c = 0; c < n; c++) {
		double w = (double)d->weight[r * COLS + first + c];
		double code = fmin(fmax(rint((double)((float)w / (float)scale)) + zero, -8), 7);
		e[c] = masked && mask_at(d->mask, STRIDE, r, first + c) ? 0 : (code - zero) * scale - w;
	}
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k < n; k++) {
			sum += e[i] * e[k] * (double)d->gram[(first + i) * COLS + first + k];
		}
	}
	*ret_scale = scale;
	return sum;
}

/* Each scale is that of the part with the least error; parts were not all whole, and not all the same. */
static void check_ranges(const struct data *d, const struct cwp_grid *g, int masked)
{
	const uint64_t n = g->group != 0 ? g->group : COLS, groups = COLS / n;
	int whole = 0, narrow = 0;

	for (uint64_t r = 0; r < ROWS; r++) {
		for (uint64_t i = 0; i < groups; i++) {
			double least = INFINITY, scale, best = 0;
			for (int step = 0; step < STEPS; step++) {
				double error = group_error(d, masked, (int)g->symmetric, r, i * n, n, 1 - (float)step / 40, &scale);
				/* Sums in f32 may order two that are nearly equal the other way round. */
				if (error < least * (1 - 1e-5)) {
					best = scale;
					least = error;
				}
			}
			double whole_scale, got = (double)d->scales[r * groups + i];
			(void)group_error(d, masked, (int)g->symmetric, r, i * n, n, 1, &whole_scale);
			whole += got == whole_scale;
			narrow += got < whole_scale;
			assert_true(got == best || fabs(got / best - 1) < 0.06);
			assert_true(got <= whole_scale);
		}
	}
	assert_true(whole > 0 && narrow > 0);
}

static void ranges(const char *granularity, const char *symmetric)
{
	struct cwp_setting *s = SETTINGS(&plugin, "algorithm=awq", "bits=4", granularity, "group=32", symmetric);
	struct data *d = data_new();
	struct data *again = malloc(sizeof(*again));
	struct cwp_grid g;
	int kept;

	assert_non_null(again);
	for (int masked = 0; masked < 2; masked++) {
		host_open(&host, &pool, 2);
		assert_int_equal(run(s, d, masked, 0, &kept, &g), 0);
		assert_true(kept);
		check_ranges(d, &g, masked);
		assert_memory_equal(d->exact, d->weight, sizeof(d->exact));
		memcpy(again, d, sizeof(*again));
		host_open(&host, &pool, 5);
		assert_int_equal(run(s, d, masked, 0, &kept, &g), 0);
		assert_memory_equal(again, d, sizeof(*again));
	}
	free(again);
	free(d);
	cwe_settings_free(plugin.descriptor, s);
}

static void test_ranges(void **state)
{
	(void)state;
	ranges("granularity=group", "symmetric=true");
	ranges("granularity=group", "symmetric=false");
	ranges("granularity=channel", "symmetric=true");
}

/* Queries and keys keep their whole ranges, and SmoothQuant all. */
static void test_whole(void **state)
{
	struct cwp_setting *s = SETTINGS(&plugin, "algorithm=awq", "bits=4", "granularity=group", "group=32");
	struct cwp_setting *rtn = SETTINGS(&plugin, "algorithm=rtn", "bits=4", "granularity=group", "group=32");
	struct cwp_setting *smooth = SETTINGS(&plugin, "algorithm=smoothquant", "bits=8", "activations=dynamic");
	const struct cwp_quantizer *q = plugin.interface;
	struct data *a = data_new(), *b = data_new();
	struct cwp_grid g;
	int kept;

	(void)state;
	assert_int_equal(run(s, a, 1, CWP_MODULE_SCORES, &kept, &g), 0);
	assert_int_equal(kept, 0);
	assert_int_equal(run(rtn, b, 1, 0, &kept, &g), 0);
	assert_memory_equal(a, b, sizeof(*a));
	assert_int_equal(run(smooth, a, 1, 0, &kept, &g), 0);
	assert_int_equal(kept, 0);
	assert_int_equal(q->needs(rtn), 0);
	assert_int_equal(q->needs(s), CWP_STAT_ACT_ABS | CWP_STAT_GRAM | CWP_QUANTIZER_SMOOTHS);
	assert_int_equal(q->needs(smooth), CWP_STAT_ACT_ABSMAX | CWP_QUANTIZER_SMOOTHS);
	assert_true(q->memory(s, ROWS, COLS, 2) > 2 * ROWS * GROUPS);
	/* No token came: nothing is narrowed. */
	memset(a->gram, 0, sizeof(a->gram));
	assert_int_equal(run(s, a, 1, 0, &kept, &g), 0);
	assert_memory_equal(a->scales, b->scales, sizeof(float) * ROWS * GROUPS);
	a->weight[5 * COLS + 3] = NAN;
	assert_int_equal(run(s, a, 1, 0, &kept, &g), CWP_ENUMBER);
	assert_int_equal(kept, 0);
	free(a);
	free(b);
	cwe_settings_free(plugin.descriptor, s);
	cwe_settings_free(plugin.descriptor, rtn);
	cwe_settings_free(plugin.descriptor, smooth);
}

static void contradicts(const char *a, const char *b, const char *c, const char *text)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_setting *s = SETTINGS(&plugin, a, b, c);
	struct cwp_grid g;
	char err[512] = "";

	assert_int_equal(q->grid(s, ROWS, COLS, &g, err, sizeof(err)), CWP_EVALUE);
	if (strstr(err, text) == NULL) {
		fail_msg("%s does not say: %s", err, text);
	}
	cwe_settings_free(plugin.descriptor, s);
}

static void test_contradictions(void **state)
{
	(void)state;
	contradicts("algorithm=awq", "bits=8", "scale=absmax", "awq is for weights of 4 bits or fewer and activations none, not bits 8");
	contradicts("algorithm=awq", "bits=4", "activations=dynamic", "not bits 4 and activations dynamic; with activations use smoothquant");
	contradicts("algorithm=awq", "bits=4", "scale=mse", "scale must be absmax, not mse");
	contradicts("algorithm=smoothquant", "bits=8", "activations=none", "not bits 8 and activations none; for weights alone use awq");
	contradicts("algorithm=smoothquant", "bits=4", "activations=dynamic", "it needs bits 8");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_awq_scales),
		cmocka_unit_test(test_smoothquant),
		cmocka_unit_test(test_smoothing_helps),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_contradictions),
	};
	plugin = open_plugin("static");
	host_open(&host, &pool, 2);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	cwe_pool_free(pool);
	free(plugin.path);
	return failed;
}
