/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ of the quantizer static on a device, the checking backend: as on the host, with statistics that are odd or no use too. */
#include <math.h>

#include <cwp/backend.h>
#include <cwp/quantizer.h>

#include "tests/plugins/common.h"

enum { ROWS = 37, COLS = 96, STRIDE = COLS / 8, TOKENS = 150, MAX_SCALES = COLS / 8 };

static struct cwe_plugin plugin, backend;
static struct cwe_pool *pool;
static struct cwe_host host;
static void *b;

struct arrays {
	uint8_t codes[ROWS * COLS];
	float scales[ROWS * MAX_SCALES], exact[ROWS * COLS];
	int8_t zeros[ROWS * MAX_SCALES];
};

/* A module in both memories. */
struct module {
	float weight[ROWS * COLS], gram[COLS * COLS];
	uint8_t mask[ROWS * STRIDE];
	float *d_weight, *d_gram, *d_scales, *d_exact;
	uint8_t *d_mask, *d_codes;
	int8_t *d_zeros;
	void *d_work;
};

static const struct cwp_backend *ops(void)
{
	return backend.interface;
}

static const struct cwp_quantizer *quantizer(void)
{
	return plugin.interface;
}

static void *device(size_t bytes)
{
	void *p = ops()->alloc(b, bytes);
	assert_non_null(p);
	return p;
}

/* Below the diagonal the device has no numbers. */
static void upload(struct module *m)
{
	float *upper = malloc(sizeof(m->gram));
	assert_non_null(upper);
	for (uint64_t i = 0; i < COLS * COLS; i++) {
		upper[i] = i % COLS >= i / COLS ? m->gram[i] : NAN;
	}
	assert_int_equal(ops()->upload(b, m->d_gram, upper, sizeof(m->gram)), 0);
	assert_int_equal(ops()->upload(b, m->d_weight, m->weight, sizeof(m->weight)), 0);
	assert_int_equal(ops()->upload(b, m->d_mask, m->mask, sizeof(m->mask)), 0);
	free(upper);
}

static void fill_gram(float *gram)
{
	double *x = calloc(TOKENS * COLS, sizeof(*x));
	assert_non_null(x);
	for (uint64_t i = 0; i < TOKENS * COLS; i++) {
		uint64_t t = i / COLS, c = i % COLS;
		x[i] = 0.3 * (double)weight_at(3, i);
		for (uint64_t k = 0; k < 5; k++) {
			x[i] += (double)weight_at(4, t * 5 + k) * (double)weight_at(5, c * 5 + k) * 30 * (1 + 3 * (c % 7 == 0));
		}
		x[i] = c % 40 == 39 ? 0 : x[i];
	}
	for (uint64_t i = 0; i < COLS * COLS; i++) {
		double sum = 0;
		for (uint64_t t = 0; t < TOKENS; t++) {
			sum += x[t * COLS + i / COLS] * x[t * COLS + i % COLS];
		}
		gram[i] = (float)sum;
	}
	free(x);
}

static struct module *module_new(const struct cwp_setting *s)
{
	struct module *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		m->weight[i] = weight_at(9, i);
		m->mask[i / 8] |= (uint8_t)((weight_at(10, i) > 0.12f) << i % 8);
	}
	fill_gram(m->gram);
	m->d_weight = device(sizeof(m->weight));
	m->d_gram = device(sizeof(m->gram));
	m->d_mask = device(sizeof(m->mask));
	m->d_codes = device(sizeof(((struct arrays *)0)->codes));
	m->d_scales = device(sizeof(((struct arrays *)0)->scales));
	m->d_zeros = device(sizeof(((struct arrays *)0)->zeros));
	m->d_exact = device(sizeof(m->weight));
	m->d_work = device((size_t)quantizer()->device_memory(s, ops(), b, ROWS, COLS));
	upload(m);
	return m;
}

static void module_free(struct module *m)
{
	void *all[] = {m->d_weight, m->d_gram, m->d_mask, m->d_codes, m->d_scales, m->d_zeros, m->d_exact, m->d_work};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		ops()->free(b, all[i]);
	}
	free(m);
}

static struct cwp_grid grid_of(const struct cwp_setting *s)
{
	struct cwp_grid g = {.size = sizeof(g)};
	char text[256] = "";
	assert_int_equal(quantizer()->grid(s, ROWS, COLS, &g, text, sizeof(text)), 0);
	return g;
}

static int prepare(const struct cwp_setting *s, const struct cwp_grid *g, const struct module *m, int there, void *before, void **ret,
	char note[256])
{
	struct cwp_quantizer_module q = {.size = sizeof(q), .name = "m", .rows = ROWS, .cols = COLS, .tokens = TOKENS, .mask = m->mask,
		.mask_stride = STRIDE, .before = before};
	if (there) {
		q.backend = ops();
		q.b = b;
		q.d_weight = m->d_weight;
		q.d_gram = m->d_gram;
		q.d_work = m->d_work;
	} else {
		q.weight = m->weight;
		q.gram = m->gram;
	}
	note[0] = '\0';
	return quantizer()->prepare(&host.table, s, g, &q, ret, note, 256);
}

static uint64_t scales_of(const struct cwp_grid *g)
{
	return g->group != 0 ? COLS / g->group : 1;
}

static int quantize_here(const struct cwp_setting *s, const struct cwp_grid *g, const struct module *m, const void *state, struct arrays *r)
{
	struct cwp_quantizer_tile t = {.size = sizeof(t), .rows = ROWS, .cols = COLS, .weight = m->weight, .mask = m->mask,
		.mask_stride = STRIDE, .state = state};
	struct cwp_quantizer_result result = {.size = sizeof(result), .codes = r->codes, .scales = r->scales,
		.zeros = g->symmetric ? NULL : r->zeros, .exact = r->exact};
	memset(r, 0, sizeof(*r));
	return quantizer()->quantize(s, g, &t, &result);
}

static int quantize_there(const struct cwp_setting *s, const struct cwp_grid *g, const struct module *m, const void *state, struct arrays *r)
{
	const struct cwp_quantizer_matrix q = {.size = sizeof(q), .rows = ROWS, .cols = COLS, .backend = ops(), .b = b, .d_weight = m->d_weight,
		.d_mask = m->d_mask, .mask_stride = STRIDE, .state = state, .d_work = m->d_work, .d_codes = m->d_codes, .d_scales = m->d_scales,
		.d_zeros = g->symmetric ? NULL : m->d_zeros, .d_exact = m->d_exact};
	const uint64_t scales = ROWS * scales_of(g);
	int rc = quantizer()->quantize_module(s, g, &q);
	memset(r, 0, sizeof(*r));
	if (rc == 0) {
		assert_int_equal(ops()->download(b, r->codes, m->d_codes, sizeof(r->codes)), 0);
		assert_int_equal(ops()->download(b, r->scales, m->d_scales, scales * sizeof(float)), 0);
		assert_int_equal(ops()->download(b, r->exact, m->d_exact, sizeof(r->exact)), 0);
		assert_int_equal(g->symmetric ? 0 : ops()->download(b, r->zeros, m->d_zeros, scales), 0);
	}
	return rc;
}

/* Codes, scales, zero points and protected weights that are others; the factors' last bits move few. */
static uint64_t differences(const struct module *m, const struct arrays *x, const struct arrays *y)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		n += x->codes[i] != y->codes[i];
		n += mask_at(m->mask, STRIDE, i / COLS, i % COLS) && !(fabsf(x->exact[i] - y->exact[i]) <= 1e-4f);
	}
	for (uint64_t i = 0; i < ROWS * MAX_SCALES; i++) {
		n += x->scales[i] != y->scales[i] || x->zeros[i] != y->zeros[i];
	}
	return n;
}

static void check_form(struct cwp_setting *s)
{
	struct cwp_grid g = grid_of(s);
	struct module *m = module_new(s);
	struct arrays *r = calloc(3, sizeof(*r));
	char note[256];
	void *here = NULL, *there = NULL, *next = NULL;
	assert_non_null(r);
	assert_int_equal(prepare(s, &g, m, 0, NULL, &here, note), 0);
	assert_int_equal(prepare(s, &g, m, 1, NULL, &there, note), 0);
	assert_true(here != NULL && there != NULL && note[0] == '\0');
	assert_int_equal(quantize_here(s, &g, m, here, &r[0]), 0);
	assert_int_equal(quantize_there(s, &g, m, there, &r[1]), 0);
	assert_in_range(differences(m, &r[0], &r[1]), 0, ROWS * COLS / 1000);
	/* One more with the same input: from the same memory, whatever becomes of the first state. */
	assert_int_equal(prepare(s, &g, m, 1, there, &next, note), 0);
	quantizer()->release(there);
	assert_int_equal(quantize_there(s, &g, m, next, &r[2]), 0);
	assert_int_equal(differences(m, &r[1], &r[2]), 0);
	assert_int_equal(quantize_here(s, &g, m, next, &r[0]), CWP_EVALUE); /* its state is not here */
	quantizer()->release(next);
	quantizer()->release(here);
	free(r);
	module_free(m);
	cwe_settings_free(plugin.descriptor, s);
}

#define GPTQ(...) SETTINGS(&plugin, "algorithm=gptq", __VA_ARGS__)

static void test_forms(void **state)
{
	(void)state;
	check_form(GPTQ("bits=4", "granularity=group", "group=32"));
	check_form(GPTQ("bits=4", "granularity=group", "group=8", "act-order=false", "symmetric=false"));
	check_form(GPTQ("bits=3", "symmetric=false", "protected=original"));
	check_form(GPTQ("bits=2", "act-order=false", "protected=original", "granularity=group", "group=96"));
	check_form(GPTQ("bits=8", "activations=dynamic"));
}

static void check_indefinite(float off, int works, const char *text)
{
	struct cwp_setting *s = GPTQ("bits=4");
	struct cwp_grid g = grid_of(s);
	struct module *m = module_new(s);
	struct arrays *r = calloc(1, sizeof(*r));
	char note[2][256];
	void *made = NULL;
	assert_non_null(r);
	for (uint64_t i = 0; i < COLS * COLS; i++) {
		m->gram[i] = i / COLS == i % COLS ? 1 : (i / COLS ^ 1) == i % COLS ? off : 0;
	}
	upload(m);
	assert_int_equal(prepare(s, &g, m, 0, NULL, &made, note[0]), 0);
	quantizer()->release(made);
	assert_int_equal(prepare(s, &g, m, 1, NULL, &made, note[1]), 0);
	assert_true((made != NULL) == works);
	assert_string_equal(note[1], note[0]);
	assert_non_null(strstr(note[1], text));
	assert_int_equal(quantize_there(s, &g, m, made, r), works ? 0 : 1); /* 1: rows alone */
	quantizer()->release(made);
	free(r);
	module_free(m);
	cwe_settings_free(plugin.descriptor, s);
}

static void test_indefinite(void **state)
{
	(void)state;
	check_indefinite(0.9f, 1, "");
	check_indefinite(1.05f, 1, "with a damping of 0.1,");
	check_indefinite(12, 0, "rounded to nearest, since x x^T has no Cholesky factor even with a damping of 10");
}

static void test_useless(void **state)
{
	struct cwp_setting *s = GPTQ("bits=4");
	struct cwp_grid g = grid_of(s);
	struct module *m = module_new(s);
	struct arrays *r = calloc(1, sizeof(*r));
	struct cwb_err err = {0};
	char note[256];
	void *made = NULL;

	(void)state;
	assert_non_null(r);
	for (int i = 0; i < 2; i++) {
		m->weight[5 * COLS + 50] = i ? INFINITY : NAN;
		upload(m);
		assert_int_equal(prepare(s, &g, m, 1, NULL, &made, note), 0);
		assert_int_equal(quantize_there(s, &g, m, made, r), CWP_ENUMBER);
		quantizer()->release(made);
	}
	atomic_store(&host.cancelled, 1);
	assert_int_equal(prepare(s, &g, m, 1, NULL, &made, note), CWP_ECANCELLED);
	atomic_store(&host.cancelled, 0);
	m->gram[7 * (COLS + 1)] = INFINITY;
	upload(m);
	assert_int_equal(prepare(s, &g, m, 1, NULL, &made, note), CWP_ENUMBER);
	assert_int_equal(cwe_host_error(&host, "static", "m", CWP_ENUMBER, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "input channel 7 is not finite"));
	memset(m->gram, 0, sizeof(m->gram));
	upload(m);
	assert_int_equal(prepare(s, &g, m, 1, NULL, &made, note), 0);
	assert_null(made);
	assert_string_equal(note, "rounded to nearest, since all its inputs are 0");
	assert_int_equal(quantize_there(s, &g, m, made, r), 1);
	free(r);
	module_free(m);
	cwe_settings_free(plugin.descriptor, s);
}

/* Who is quantized on the device at all. */
static void test_wanted(void **state)
{
	const struct {
		const char *option;
		int wanted;
	} ways[] = {{"scale=absmax", 1}, {"scale=mse", 0}, {"scale=percentile", 0}, {"algorithm=rtn", 0}, {"algorithm=awq", 0}};
	struct cwp_backend plain = *ops();
	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct cwp_setting *s = strncmp(ways[i].option, "algorithm", 9) == 0 ? SETTINGS(&plugin, ways[i].option, "bits=4")
			: GPTQ("bits=4", ways[i].option);
		uint64_t bytes = quantizer()->device_memory(s, ops(), b, ROWS, COLS);
		assert_int_equal(bytes > 0, ways[i].wanted);
		assert_int_equal(quantizer()->device_memory(s, ops(), b, ROWS, 65535) > 0, ways[i].wanted);
		assert_int_equal(quantizer()->device_memory(s, ops(), b, ROWS, 65536), 0);
		plain.gptq_factor = NULL;
		assert_int_equal(quantizer()->device_memory(s, &plain, b, ROWS, COLS), 0);
		cwe_settings_free(plugin.descriptor, s);
	}
}

static void open_backend(void)
{
	struct cwb_err err = {0};
	const char *build = getenv("CWP_BUILDDIR");
	char path[4096];
	snprintf(path, sizeof(path), "%s/tests/plugins/fake/.libs/cuda.so", build != NULL ? build : ".");
	if (cwe_plugin_open(path, &backend, &err) < 0 || ops()->open(&host.table, NULL, NULL, &b) != 0) {
		fail_msg("%s", err.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_indefinite),
		cmocka_unit_test(test_useless),
		cmocka_unit_test(test_wanted),
	};
	plugin = open_plugin("static");
	host_open(&host, &pool, 2);
	open_backend();
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	ops()->close(b);
	cwe_pool_free(pool);
	free(plugin.path);
	free(backend.path);
	return r;
}
