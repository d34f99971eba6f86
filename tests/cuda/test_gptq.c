/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ of a backend against that of the quantizer static: the factor to the last place of f32, the rounding with the same factor to
 * the last bit. A backend may leave it to the host: then there is nothing to test. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/quantizer.h>

#include "plugins/quantizers/rounding.h"
#include "tests/cuda/gptq_module.h"
#include "tests/cuda/pair.h"
#include "tests/plugins/common.h"

static struct cwe_plugin quantizer;
static struct cwe_pool *pool;
static struct cwe_host host;

static int left_to_host(void)
{
	return !pair.ops->gptq_factor || !pair.ops->gptq_round || !pair.ops->gptq_work;
}

/* ---- the factor ---- */

/* Its code; *ret_u where that is 0. The device gets NaN below the diagonal. */
static int device_factor(const float *gram, uint64_t n, const uint32_t *order, double damping, float **ret_u)
{
	struct gptq_buffer d_gram, d_order = {0}, d_u, d_work;
	float *upper = gptq_zeros(n * n * sizeof(*upper));
	for (uint64_t i = 0; i < n * n; i++) {
		upper[i] = i % n < i / n ? NAN : gram[i];
	}
	const struct cwp_gptq_factor f = {.size = sizeof(f), .n = n, .d_gram = gptq_buffer_new(&d_gram, upper, n * n * sizeof(*upper)),
		.d_order = order ? gptq_buffer_new(&d_order, order, n * sizeof(*order)) : NULL, .damping = damping,
		.d_u = gptq_buffer_new(&d_u, NULL, n * n * sizeof(*upper)), .d_work = gptq_buffer_new(&d_work, NULL, pair.ops->gptq_work(pair.b, 1, n))};
	int rc = pair.ops->gptq_factor(pair.b, &f);
	float *u = gptq_buffer_take(&d_u);
	gptq_buffer_drop(&d_work);
	gptq_buffer_drop(&d_gram);
	if (order) {
		gptq_buffer_drop(&d_order);
	}
	free(upper);
	if (rc) {
		free(u);
		return rc;
	}
	*ret_u = u;
	return 0;
}

static void one_factor(uint64_t n, int act_order)
{
	float *gram = gptq_gram(n), *got = NULL, *again = NULL;
	uint32_t *order = act_order ? gptq_order(gram, n) : NULL;
	float *want = gptq_host_factor(&host.table, gram, n, order, 0.5);
	double largest = 0.0;
	assert_non_null(want);
	assert_int_equal(device_factor(gram, n, order, 0.5, &got), 0);
	assert_int_equal(device_factor(gram, n, order, 0.5, &again), 0);
	assert_memory_equal(got, again, n * n * sizeof(*got));
	for (uint64_t i = 0; i < n * n; i++) {
		largest = fmax(largest, fabs((double)want[i]));
	}
	for (uint64_t i = 0; i < n * n; i++) {
		double w = (double)want[i], d = fabs((double)got[i] - w);
		if (!(d <= 1.3e-7 * fabs(w) + 1e-9 * largest) || (i % n < i / n && got[i] != 0.0F)) {
			fail_msg("%llu columns%s: U[%llu][%llu] is %.9g, want %.9g", (unsigned long long)n, act_order ? " in order" : "",
				(unsigned long long)(i / n), (unsigned long long)(i % n), (double)got[i], w);
		}
	}
	float *all[] = {gram, got, again, want};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		free(all[i]);
	}
	free(order);
}

static void test_factors(void **state)
{
	(void)state;
	static const uint64_t tiny[] = {1, 5, 64, 65, 130, 330}, more[] = {63, 128, 257, 256, 300, 511, 513, 777, 1100, 2304};
	if (left_to_host()) {
		skip();
	}
	for (size_t i = 0; i < sizeof(tiny) / sizeof(*tiny); i++) {
		one_factor(tiny[i], (int)i % 2);
	}
	for (size_t i = 0; pair.sizes != PAIR_TINY && i < sizeof(more) / sizeof(*more); i++) {
		one_factor(more[i], (int)i % 2);
	}
}

/* Columns i and k are the same, or more alike than that. */
static void test_no_factor(void **state)
{
	(void)state;
	enum { N = 300 };
	static const uint64_t pairs[][2] = {{N - 1, N - 2}, {3, 4}, {0, N - 1}, {30, 140}};
	if (left_to_host()) {
		skip();
	}
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs) - (pair.sizes == PAIR_TINY ? 2 : 0); i++) {
		const uint64_t a = pairs[i][0], b = pairs[i][1];
		float *gram = gptq_zeros(sizeof(*gram) * N * N), *u = NULL;
		for (uint64_t c = 0; c < N; c++) {
			gram[c * (N + 1)] = 4.0F;
		}
		gram[a * N + b] = gram[b * N + a] = i % 2 ? 4.0F : 4.5F;
		assert_null(gptq_host_factor(&host.table, gram, N, NULL, 0.0));
		assert_int_equal(device_factor(gram, N, NULL, 0.0, &u), 1);
		assert_int_equal(device_factor(gram, N, NULL, 1.0, &u), 0);
		free(u);
		free(gram);
	}
}

/* ---- rows ---- */

struct form {
	uint64_t group; /* 0: one scale a row */
	int bits, symmetric, act_order, masked, compensated;
};

struct result {
	uint8_t *codes;
	float *scales, *exact;
	int8_t *zeros;
};

static uint64_t scales_of(const struct gptq_module *m, const struct form *f)
{
	return f->group ? (m->cols - 1) / f->group + 1 : 1;
}

static struct result result_new(const struct gptq_module *m, const struct form *f)
{
	const uint64_t n = m->rows * m->cols, scales = m->rows * scales_of(m, f);
	struct result r = {gptq_zeros(n), gptq_zeros(scales * sizeof(float)), gptq_zeros(n * sizeof(float)), gptq_zeros(scales)};
	memcpy(r.exact, m->weight, n * sizeof(float));
	return r;
}

static void result_free(struct result *r)
{
	free(r->codes);
	free(r->scales);
	free(r->exact);
	free(r->zeros);
}

static struct result host_round(const struct gptq_module *m, const struct form *f)
{
	const struct cwp_quantizer *q = quantizer.interface;
	char bits[16], note[256] = "";
	snprintf(bits, sizeof(bits), "bits=%d", f->bits);
	struct cwp_setting *s = SETTINGS(&quantizer, "algorithm=gptq", "damping=0.01", bits, f->group ? "granularity=group" : "granularity=channel",
		f->symmetric ? "symmetric=true" : "symmetric=false", f->act_order ? "act-order=true" : "act-order=false",
		f->compensated ? "protected=compensated" : "protected=original");
	struct cwp_grid g = {.size = sizeof(g)};
	struct result r = result_new(m, f);
	void *state = NULL;
	assert_true(q->grid(s, m->rows, m->cols, &g, note, sizeof(note)) >= 0);
	note[0] = 0;
	g.granularity = f->group ? CWP_PER_GROUP : CWP_PER_CHANNEL;
	g.group = (uint32_t)f->group;
	const uint8_t *mask = f->masked ? m->mask : NULL;
	const struct cwp_quantizer_module module = {.size = sizeof(module), .name = "m", .rows = m->rows, .cols = m->cols, .tokens = 1,
		.weight = m->weight, .mask = mask, .mask_stride = m->stride, .gram = m->gram};
	assert_int_equal(q->prepare(&host.table, s, &g, &module, &state, note, sizeof(note)), 0);
	assert_string_equal(note, "");
	const struct cwp_quantizer_tile tile = {.size = sizeof(tile), .rows = m->rows, .cols = m->cols, .weight = m->weight, .mask = mask,
		.mask_stride = m->stride, .state = state};
	struct cwp_quantizer_result result = {.size = sizeof(result), .codes = r.codes, .scales = r.scales, .zeros = f->symmetric ? NULL : r.zeros,
		.exact = f->masked ? r.exact : NULL};
	assert_int_equal(q->quantize(s, &g, &tile, &result), 0);
	q->release(state);
	cwe_settings_free(quantizer.descriptor, s);
	return r;
}

/* Its code. u: the factor; r: as it was, then what the device made. */
static int device_round(const struct gptq_module *m, const struct form *f, int exact_scales, const float *u, struct result *r)
{
	const uint64_t n = m->rows * m->cols, scales = m->rows * scales_of(m, f);
	struct gptq_buffer d[9];
	struct cwp_gptq_round a = {.size = sizeof(a), .rows = m->rows, .cols = m->cols, .group = f->group ? f->group : m->cols,
		.bits = (uint32_t)f->bits, .symmetric = (uint32_t)f->symmetric, .exact_scales = (uint32_t)exact_scales,
		.compensated = (uint32_t)f->compensated, .mask_stride = m->stride};
	a.d_weight = gptq_buffer_new(&d[0], m->weight, n * sizeof(float));
	a.d_u = gptq_buffer_new(&d[1], u, m->cols * m->cols * sizeof(float));
	const uint32_t *order = gptq_buffer_new(&d[2], m->order, m->order ? m->cols * sizeof(*m->order) : 0);
	const uint8_t *mask = gptq_buffer_new(&d[3], m->mask, m->rows * m->stride);
	a.d_order = f->act_order ? order : NULL;
	a.d_mask = f->masked ? mask : NULL;
	a.d_work = gptq_buffer_new(&d[4], NULL, pair.ops->gptq_work(pair.b, m->rows, m->cols));
	a.d_codes = gptq_buffer_new(&d[5], r->codes, n);
	a.d_scales = gptq_buffer_new(&d[6], r->scales, scales * sizeof(float));
	float *d_exact = gptq_buffer_new(&d[7], r->exact, n * sizeof(float));
	int8_t *d_zeros = gptq_buffer_new(&d[8], r->zeros, scales);
	a.d_exact = f->masked ? d_exact : NULL;
	a.d_zeros = f->symmetric ? NULL : d_zeros;
	int rc = pair.ops->gptq_round(pair.b, &a);
	for (size_t i = 0; i < 5; i++) {
		gptq_buffer_drop(&d[i]);
	}
	result_free(r);
	*r = (struct result){gptq_buffer_take(&d[5]), gptq_buffer_take(&d[6]), gptq_buffer_take(&d[7]), gptq_buffer_take(&d[8])};
	return rc;
}

static void compare(const struct gptq_module *m, const struct form *f, const struct result *got, const struct result *want)
{
	const uint64_t n = m->rows * m->cols, scales = m->rows * scales_of(m, f);
	const struct {
		const char *what;
		const void *got, *want;
		size_t size, n;
	} parts[] = {{"scale", got->scales, want->scales, 4, scales}, {"zero", got->zeros, want->zeros, 1, scales},
		{"code", got->codes, want->codes, 1, n}, {"exact value", got->exact, want->exact, 4, n}};
	for (size_t p = 0; p < 4; p++) {
		const char *g = parts[p].got, *w = parts[p].want;
		size_t wrong = 0, place = 0;
		for (size_t i = 0; i < parts[p].n; i++) {
			if (memcmp(g + i * parts[p].size, w + i * parts[p].size, parts[p].size) != 0) {
				place = wrong++ == 0 ? i : place;
			}
		}
		if (wrong > 0) {
			fail_msg("%llu x %llu, group %llu, %d bits, symmetric %d, order %d, masked %d, compensated %d: %s: %zu of %zu differ, the "
				"first is %zu", (unsigned long long)m->rows, (unsigned long long)m->cols, (unsigned long long)f->group, f->bits,
				f->symmetric, f->act_order, f->masked, f->compensated, parts[p].what, wrong, parts[p].n, place);
		}
	}
}

static void one_shape(uint64_t rows, uint64_t cols, uint64_t group, int forms)
{
	static const int bits[] = {4, 8, 3, 2};
	for (int act_order = 0; act_order < 2; act_order++) {
		struct gptq_module m = gptq_module_new(&host.table, rows, cols, act_order);
		for (int i = act_order; i < 12; i += 12 / forms) {
			const struct form f = {.group = group, .bits = bits[(i + (int)cols) % 4], .symmetric = i % 2, .act_order = act_order,
				.masked = i % 3 > 0, .compensated = i % 3 > 1};
			struct result want = host_round(&m, &f), got = result_new(&m, &f), again = result_new(&m, &f);
			assert_int_equal(device_round(&m, &f, 0, m.u, &got), 0);
			compare(&m, &f, &got, &want);
			assert_int_equal(device_round(&m, &f, 0, m.u, &again), 0);
			compare(&m, &f, &again, &got);
			result_free(&want);
			result_free(&got);
			result_free(&again);
		}
		gptq_module_free(&m);
	}
}

static void test_rounds(void **state)
{
	(void)state;
	static const uint64_t tiny[][3] = {{1, 1, 0}, {9, 7, 3}, {3, 130, 8}, {5, 300, 48}, {2, 290, 200}, {131, 140, 0}},
		more[][3] = {{300, 777, 128}, {64, 1024, 32}, {257, 511, 100}, {33, 1300, 0}, {1000, 640, 500}, {140, 1100, 64}};
	if (left_to_host()) {
		skip();
	}
	for (size_t i = 0; i < sizeof(tiny) / sizeof(*tiny); i++) {
		one_shape(tiny[i][0], tiny[i][1], tiny[i][2], pair.sizes == PAIR_TINY ? 3 : 12);
	}
	for (size_t i = 0; pair.sizes != PAIR_TINY && i < sizeof(more) / sizeof(*more); i++) {
		one_shape(more[i][0], more[i][1], more[i][2], 6);
	}
}

/* Columns that know nothing of each other are rounded by themselves. */
static void test_exact_scales(void **state)
{
	(void)state;
	const struct form f = {.group = 16, .bits = 8, .symmetric = 1};
	if (left_to_host()) {
		skip();
	}
	struct gptq_module m = gptq_module_new(&host.table, 3, 40, 0);
	struct result r = result_new(&m, &f);
	float *one = gptq_zeros(m.cols * m.cols * sizeof(*one));
	for (uint64_t i = 0; i < m.cols; i++) {
		one[i * (m.cols + 1)] = 1.0F;
	}
	memset(m.weight + 16, 0, 16 * sizeof(*m.weight));
	assert_int_equal(device_round(&m, &f, 1, one, &r), 0);
	for (uint64_t row = 0; row < m.rows; row++) {
		for (uint64_t c = 0; c < m.cols; c++) {
			const float *w = m.weight + row * m.cols, absmax = absmax_of(w, NULL, c / 16 * 16, m.cols - c / 16 * 16 < 16 ? m.cols % 16 : 16);
			const float scale = absmax > 0.0F ? absmax / 127.0F : 1.0F;
			assert_true(r.scales[row * 3 + c / 16] == scale);
			assert_int_equal((int8_t)r.codes[row * m.cols + c], code_int(w[c], scale, 0.0F, -128.0F, 127.0F));
		}
	}
	result_free(&r);
	free(one);
	gptq_module_free(&m);
}

static void test_no_number(void **state)
{
	(void)state;
	const struct form f = {.group = 32, .bits = 4, .symmetric = 1};
	if (left_to_host()) {
		skip();
	}
	for (int i = 0; i < 4; i++) {
		struct gptq_module m = gptq_module_new(&host.table, 10, 150, i % 2);
		const struct form form = {.group = f.group, .bits = f.bits, .symmetric = i < 2, .act_order = i % 2};
		struct result r = result_new(&m, &form);
		m.weight[i == 0 ? 0 : i == 1 ? 1499 : 777] = i % 2 ? NAN : INFINITY;
		assert_int_equal(device_round(&m, &form, 0, m.u, &r), CWP_ENUMBER);
		assert_non_null(strstr(pair.host.failure, "finite"));
		result_free(&r);
		gptq_module_free(&m);
	}
}

static void test_refused(void **state)
{
	(void)state;
	if (left_to_host()) {
		skip();
	}
	static float x[64];
	static uint8_t bytes[64];
	static int8_t codes[64];
	static const struct cwp_gptq_factor good = {.size = sizeof(good), .n = 2, .d_gram = x, .d_u = x, .d_work = x};
	static const struct cwp_gptq_round fine = {.size = sizeof(fine), .rows = 2, .cols = 10, .group = 4, .bits = 4, .d_u = x, .d_weight = x,
		.d_mask = bytes, .mask_stride = 2, .d_codes = bytes, .d_scales = x, .d_zeros = codes, .d_work = x};
	struct cwp_gptq_factor f[7];
	struct cwp_gptq_round r[10];
	for (size_t i = 0; i < 7; i++) {
		f[i] = good;
	}
	for (size_t i = 0; i < 10; i++) {
		r[i] = fine;
	}
	f[0].size = 8;
	f[1].flags = 1;
	f[2].damping = NAN;
	f[3].damping = -1.0;
	f[4].d_work = NULL;
	f[5].d_gram = NULL;
	f[6].n = UINT64_MAX / 2;
	for (size_t i = 0; i < 7; i++) {
		pair_refused("gptq_factor", pair.ops->gptq_factor(pair.b, &f[i]), i == 6 ? CWP_ESHAPE : CWP_EVALUE, "gptq_factor");
	}
	r[0].size = 8;
	r[1].flags = 1;
	r[2].bits = 1;
	r[3].bits = 9;
	r[4].group = 0;
	r[5].mask_stride = 1;
	r[6].d_zeros = NULL;
	r[7].d_scales = NULL;
	r[8].d_work = NULL;
	r[9].rows = UINT64_MAX / 2;
	for (size_t i = 0; i < 10; i++) {
		pair_refused("gptq_round", pair.ops->gptq_round(pair.b, &r[i]), i == 5 || i == 9 ? CWP_ESHAPE : CWP_EVALUE, "gptq_round");
	}
	f[0] = (struct cwp_gptq_factor){.size = sizeof(f[0])};
	assert_int_equal(pair.ops->gptq_factor(pair.b, &f[0]), 0);
	r[0] = (struct cwp_gptq_round){.size = sizeof(r[0]), .bits = 4, .group = 1};
	assert_int_equal(pair.ops->gptq_round(pair.b, &r[0]), 0);
	assert_true(pair.ops->gptq_work(pair.b, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_factors),
		cmocka_unit_test(test_no_factor),
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_exact_scales),
		cmocka_unit_test(test_no_number),
		cmocka_unit_test(test_refused),
	};
	host_open(&host, &pool, 4);
	quantizer = open_plugin("static");
	int rc = cmocka_run_group_tests_name("gptq", tests, NULL, NULL);
	cwe_pool_free(pool);
	pool = NULL;
	return rc;
}

int main(void)
{
	return pair_main(group, 0);
}
