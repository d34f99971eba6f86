/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ of the quantizer static, against the same in f64 without blocks; protected weights inside the loop; statistics that are
 * missing, odd or no use; tiles and threads that change nothing. */
#include <math.h>

#include <cwp/quantizer.h>

#include "tests/plugins/common.h"

enum { ROWS = 70, COLS = 200, STRIDE = COLS / 8, TOKENS = 300, MAX_SCALES = COLS / 8 };

struct data {
	float weight[ROWS * COLS], gram[COLS * COLS];
	uint8_t mask[ROWS * STRIDE];
};

struct result {
	uint8_t codes[ROWS * COLS];
	float scales[ROWS * MAX_SCALES], exact[ROWS * COLS];
	int8_t zeros[ROWS * MAX_SCALES];
};

static struct cwe_plugin plugin;
static struct cwe_pool *pool;
static struct cwe_host host;

/* Inputs that depend on each other: each token is a sum of a few patterns and a little of its own. */
static void make_gram(float *gram, int dead)
{
	double *x = malloc(sizeof(*x) * TOKENS * COLS);

	assert_non_null(x);
	for (uint64_t t = 0; t < TOKENS; t++) {
		for (uint64_t c = 0; c < COLS; c++) {
			double v = 0.2 * (double)weight_at(3, t * COLS + c);
			for (uint64_t k = 0; k < 9; k++) {
				v += (double)weight_at(4, t * 9 + k) * (double)weight_at(5, c * 9 + k) * 30;
			}
			x[t * COLS + c] = c % 50 == 49 && dead ? 0 : v * (1 + 4 * (c % 11 == 0));
		}
	}
	for (uint64_t i = 0; i < COLS; i++) {
		for (uint64_t k = 0; k < COLS; k++) {
			double sum = 0;
			for (uint64_t t = 0; t < TOKENS; t++) {
				sum += x[t * COLS + i] * x[t * COLS + k];
			}
			gram[i * COLS + k] = (float)sum;
		}
	}
	free(x);
}

static struct data *data_new(int dead)
{
	struct data *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (uint64_t i = 0; i < ROWS * COLS; i++) {
		d->weight[i] = weight_at(9, i);
		if (weight_at(10, i) > 0.12f) {
			d->mask[i / COLS * STRIDE + i % COLS / 8] |= (uint8_t)(1 << i % COLS % 8);
		}
	}
	make_gram(d->gram, dead);
	return d;
}

static int prepare(const struct cwp_setting *s, const struct cwp_grid *g, const struct data *d, void *before, void **ret_state, char *note)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_quantizer_module m = {.size = sizeof(m), .name = "m", .rows = ROWS, .cols = COLS, .tokens = TOKENS, .weight = d->weight,
		.mask = d->mask, .mask_stride = STRIDE, .gram = d->gram, .before = before};

	note[0] = '\0';
	return q->prepare(&host.table, s, g, &m, ret_state, note, 256);
}

static uint64_t scales_of(const struct cwp_grid *g)
{
	return g->group != 0 ? (COLS + g->group - 1) / g->group : 1;
}

static int quantize(const struct cwp_setting *s, const struct cwp_grid *g, const struct data *d, int masked, const void *state, int height,
	struct result *r)
{
	const struct cwp_quantizer *q = plugin.interface;
	int rc = 0;

	memset(r, 0x55, sizeof(*r));
	memcpy(r->exact, d->weight, sizeof(r->exact));
	for (int row = 0; rc == 0 && row < ROWS; row += height) {
		const size_t at = (size_t)row * COLS, scale_at = (size_t)row * scales_of(g);
		struct cwp_quantizer_tile tile = {.size = sizeof(tile), .row = (uint64_t)row,
			.rows = (uint64_t)(ROWS - row < height ? ROWS - row : height), .cols = COLS, .weight = d->weight + at,
			.mask = masked ? d->mask + (size_t)row * STRIDE : NULL, .mask_stride = STRIDE, .state = state};
		struct cwp_quantizer_result result = {.size = sizeof(result), .codes = r->codes + at, .scales = r->scales + scale_at,
			.zeros = g->symmetric ? NULL : r->zeros + scale_at, .exact = masked ? r->exact + at : NULL};
		rc = q->quantize(s, g, &tile, &result);
	}
	return rc;
}

static double value_at(const struct data *d, const struct cwp_grid *g, const struct result *r, int masked, uint64_t row, uint64_t c)
{
	const uint64_t i = row * scales_of(g) + (g->group != 0 ? c / g->group : 0);

	return masked && mask_at(d->mask, STRIDE, row, c) ? (double)r->exact[row * COLS + c]
		: (double)((int8_t)r->codes[row * COLS + c] - (g->symmetric ? 0 : r->zeros[i])) * (double)r->scales[i];
}

/* tr(E X^T X E^T) of a row's errors. */
static double row_error(const struct data *d, const double *e)
{
	double sum = 0;

	for (uint64_t i = 0; i < COLS; i++) {
		for (uint64_t k = 0; k < COLS; k++) {
			sum += e[i] * e[k] * (double)d->gram[i * COLS + k];
		}
	}
	return sum;
}

static double error_of(const struct data *d, const struct cwp_grid *g, const struct result *r, int masked)
{
	double sum = 0, e[COLS];

	for (uint64_t row = 0; row < ROWS; row++) {
		for (uint64_t c = 0; c < COLS; c++) {
			e[c] = value_at(d, g, r, masked, row, c) - (double)d->weight[row * COLS + c];
		}
		sum += row_error(d, e);
	}
	return sum;
}

/* U of H^-1 = U^T U by elimination: H^-1 is made in full, then factorized from above. */
static double *reference_factor(const struct data *d, const uint64_t *order, double damping)
{
	double *h = calloc(2 * COLS * COLS, sizeof(*h)), *inverse = h + COLS * COLS, mean = 0;

	assert_non_null(h);
	for (uint64_t i = 0; i < COLS; i++) {
		mean += (double)d->gram[i * COLS + i] / COLS;
		inverse[i * COLS + i] = 1;
		for (uint64_t k = 0; k < COLS; k++) {
			h[i * COLS + k] = (double)d->gram[order[i] * COLS + order[k]];
		}
	}
	for (uint64_t i = 0; i < COLS; i++) {
		h[i * COLS + i] = h[i * COLS + i] > 0 ? h[i * COLS + i] + damping * mean : 1;
	}
	for (uint64_t p = 0; p < COLS; p++) { /* Gauss and Jordan; H is positive definite: no pivots are looked for */
		const double pivot = h[p * COLS + p];
		for (uint64_t k = 0; k < COLS; k++) {
			h[p * COLS + k] /= pivot;
			inverse[p * COLS + k] /= pivot;
		}
		for (uint64_t i = 0; i < COLS; i++) {
			const double factor = h[i * COLS + p];
			for (uint64_t k = 0; i != p && k < COLS; k++) {
				h[i * COLS + k] -= factor * h[p * COLS + k];
				inverse[i * COLS + k] -= factor * inverse[p * COLS + k];
			}
		}
	}
	for (uint64_t j = 0; j < COLS; j++) { /* inverse = U^T U, row after row of U */
		for (uint64_t k = j; k < COLS; k++) {
			double sum = inverse[j * COLS + k];
			for (uint64_t p = 0; p < j; p++) {
				sum -= h[p * COLS + j] * h[p * COLS + k];
			}
			h[j * COLS + k] = k == j ? sqrt(sum) : sum / h[j * COLS + j];
		}
	}
	return h;
}

struct reference {
	double damping;
	int act_order, compensated, masked;
};

static void find_order(const struct data *d, int act_order, uint64_t *order)
{
	for (uint64_t i = 0; i < COLS; i++) {
		uint64_t at = i;
		/* Insertion keeps equal ones in their order. */
		for (; act_order && at > 0 && d->gram[order[at - 1] * (COLS + 1)] < d->gram[i * (COLS + 1)]; at--) {
			order[at] = order[at - 1];
		}
		order[at] = i;
	}
}

/* The published loop on the scales of r -> total error, and how many codes (or exact values) are others. */
static double reference_error(const struct data *d, const struct cwp_grid *g, const struct result *r, const struct reference *how, int *ret_differ)
{
	const double least = -(double)(1 << (g->bits - 1));
	uint64_t order[COLS] = {0};
	double total = 0, e[COLS], w[COLS];

	find_order(d, how->act_order, order);
	double *u = reference_factor(d, order, how->damping);
	*ret_differ = 0;
	for (uint64_t row = 0; row < ROWS; row++) {
		for (uint64_t i = 0; i < COLS; i++) {
			w[i] = (double)d->weight[row * COLS + order[i]];
		}
		for (uint64_t i = 0; i < COLS; i++) {
			const uint64_t c = order[i], at = row * scales_of(g) + (g->group != 0 ? c / g->group : 0);
			const double scale = (double)r->scales[at], zero = g->symmetric ? 0 : r->zeros[at];
			const int kept = how->masked && mask_at(d->mask, STRIDE, row, c);
			double q = (fmin(fmax(nearbyint(w[i] / scale) + zero, least), -least - 1) - zero) * scale;
			q = !kept ? q : how->compensated ? w[i] : (double)d->weight[row * COLS + c];
			*ret_differ += fabs(q - value_at(d, g, r, how->masked, row, c)) > 1e-4 * scale;
			e[c] = q - (double)d->weight[row * COLS + c];
			const double error = (w[i] - q) / u[i * COLS + i];
			for (uint64_t k = i + 1; k < COLS; k++) {
				w[k] -= error * u[i * COLS + k];
			}
		}
		total += row_error(d, e);
	}
	free(u);
	return total;
}

static struct cwp_grid grid_of(const struct cwp_setting *s)
{
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_grid g;
	char text[256] = "";

	if (q->grid(s, ROWS, COLS, &g, text, sizeof(text)) < 0) {
		fail_msg("%s", text);
	}
	assert_int_equal(q->needs(s), CWP_STAT_GRAM);
	assert_true(q->memory(s, ROWS, COLS, 2) > COLS * COLS * (sizeof(double) + sizeof(float)));
	return g;
}

#define GPTQ(...) SETTINGS(&plugin, "algorithm=gptq", __VA_ARGS__)

static void check_form(const struct data *d, const char *bits, const char *group, const char *symmetric, int act_order)
{
	const char *granularity = group != NULL ? "granularity=group" : "granularity=channel";
	struct result *plain = malloc(sizeof(*plain)), *ours = malloc(sizeof(*ours));
	double last = INFINITY;

	assert_true(plain != NULL && ours != NULL);
	for (int way = 0; way < 3; way++) { /* nothing protected, original, compensated */
		struct cwp_setting *s = GPTQ(bits, granularity, group != NULL ? group : "group=8", symmetric,
			act_order ? "act-order=true" : "act-order=false", way == 2 ? "protected=compensated" : "protected=original", "damping=0.02");
		struct cwp_grid g = grid_of(s);
		const struct reference how = {0.02, act_order, way == 2, way > 0};
		char note[256];
		void *state = NULL;
		int differ;
		assert_int_equal(prepare(s, &g, d, NULL, &state, note), 0);
		assert_non_null(state);
		assert_string_equal(note, "");
		assert_int_equal(quantize(s, &g, d, way > 0, state, ROWS, ours), 0);
		const double error = error_of(d, &g, ours, way > 0), want = reference_error(d, &g, ours, &how, &differ);
		/* A code at a tie falls to the other side here and there, and its row goes on another way. */
		assert_true(differ < ROWS * COLS / 20);
		assert_true(error <= want * 1.002);
		assert_int_equal(quantize(s, &g, d, way > 0, NULL, ROWS, plain), 0);
		assert_true(error < 0.8 * error_of(d, &g, plain, way > 0));
		/* To pin weights that are chosen at random is worse than to let them make good the others' errors. */
		assert_true(way < 2 || error < last);
		last = error;
		for (int height = 1; height < ROWS; height += 23) {
			assert_int_equal(quantize(s, &g, d, way > 0, state, height, plain), 0);
			assert_memory_equal(plain, ours, sizeof(*ours));
		}
		((const struct cwp_quantizer *)plugin.interface)->release(state);
		cwe_settings_free(plugin.descriptor, s);
	}
	free(plain);
	free(ours);
}

static void test_forms(void **state)
{
	static const char *const bits[] = {"bits=2", "bits=3", "bits=4", "bits=8"};
	static const char *const group[] = {"group=40", "group=8", "group=100", NULL};
	struct data *d = data_new(0);

	(void)state;
	for (int i = 0; i < 4; i++) {
		for (int order = 0; order < 2; order++) {
			check_form(d, bits[i], group[(i + order) % 4], i % 2 ? "symmetric=false" : "symmetric=true", order);
			check_form(d, bits[i], group[(i + 2) % 4], i % 2 ? "symmetric=true" : "symmetric=false", order);
		}
	}
	free(d);
}

/* A protected weight keeps its value, or changes as its neighbours' errors want it; no other value is touched. */
static void test_protected(void **state)
{
	struct data *d = data_new(0);
	struct result *r = malloc(sizeof(*r));

	(void)state;
	assert_non_null(r);
	for (int compensated = 0; compensated < 2; compensated++) {
		struct cwp_setting *s = GPTQ("bits=4", "granularity=group", "group=40", compensated ? "protected=compensated" : "protected=original");
		struct cwp_grid g = grid_of(s);
		char note[256];
		void *made = NULL;
		int kept = 0, changed = 0;
		assert_int_equal(prepare(s, &g, d, NULL, &made, note), 0);
		assert_int_equal(quantize(s, &g, d, 1, made, 64, r), 0);
		for (uint64_t i = 0; i < ROWS * COLS; i++) {
			const int is = mask_at(d->mask, STRIDE, i / COLS, i % COLS);
			kept += is;
			changed += is && r->exact[i] != d->weight[i];
			assert_true(is || r->exact[i] == d->weight[i]);
			assert_true(isfinite(r->exact[i]));
		}
		assert_in_range(kept, 100, ROWS * COLS / 2);
		assert_true(compensated ? changed > kept * 9 / 10 : changed == 0);
		((const struct cwp_quantizer *)plugin.interface)->release(made);
		cwe_settings_free(plugin.descriptor, s);
	}
	free(r);
	free(d);
}

/* Three columns by hand: the scale is 1; 0.4 becomes 0, and what follows makes h of it good. */
static void test_by_hand(void **state)
{
	struct cwp_setting *s = GPTQ("bits=2", "damping=0", "act-order=false", "protected=compensated");
	const struct cwp_quantizer *q = plugin.interface;
	const float weight[3] = {1, 0.4f, 0.25f}, gram[9] = {2, 0, 0, 0, 2, 1, 0, 1, 2};
	const uint8_t mask = 4;
	uint8_t codes[3];
	float scale = 0, exact[3] = {1, 0.4f, 0.25f};
	struct cwp_grid g;
	char note[256] = "";
	void *made = NULL;
	struct cwp_quantizer_module m = {.size = sizeof(m), .name = "m", .rows = 1, .cols = 3, .tokens = 2, .weight = weight, .mask = &mask,
		.mask_stride = 1, .gram = gram};
	struct cwp_quantizer_tile tile = {.size = sizeof(tile), .rows = 1, .cols = 3, .weight = weight, .mask = &mask, .mask_stride = 1};
	struct cwp_quantizer_result result = {.size = sizeof(result), .codes = codes, .scales = &scale, .exact = exact};

	(void)state;
	assert_int_equal(q->grid(s, 1, 3, &g, NULL, 0), 0);
	assert_int_equal(q->prepare(&host.table, s, &g, &m, &made, note, sizeof(note)), 0);
	tile.state = made;
	assert_int_equal(q->quantize(s, &g, &tile, &result), 0);
	assert_true(scale == 1);
	assert_int_equal((int8_t)codes[0], 1);
	assert_int_equal((int8_t)codes[1], 0);
	assert_true(fabsf(exact[2] - (0.25f + 0.5f * 0.4f)) < 1e-6f);
	q->release(made);
	cwe_settings_free(plugin.descriptor, s);
}

/* Columns without input round as if they were alone. */
static void test_dead_columns(void **state)
{
	struct data *d = data_new(1);
	struct result *r = malloc(sizeof(*r));

	(void)state;
	assert_non_null(r);
	for (int i = 0; i < 4; i++) {
		struct cwp_setting *s = GPTQ("bits=4", i & 1 ? "damping=0" : "damping=0.01", i & 2 ? "act-order=true" : "act-order=false");
		struct cwp_grid g = grid_of(s);
		char note[256];
		void *made = NULL;
		assert_int_equal(prepare(s, &g, d, NULL, &made, note), 0);
		assert_non_null(made);
		assert_int_equal(quantize(s, &g, d, 0, made, ROWS, r), 0);
		for (uint64_t row = 0; row < ROWS; row++) {
			for (uint64_t c = 49; c < COLS; c += 50) {
				const float w = d->weight[row * COLS + c];
				assert_int_equal((int8_t)r->codes[row * COLS + c], (int)fminf(fmaxf(nearbyintf(w / r->scales[row]), -8), 7));
			}
		}
		((const struct cwp_quantizer *)plugin.interface)->release(made);
		cwe_settings_free(plugin.descriptor, s);
	}
	free(r);
	free(d);
}

/* A matrix without a Cholesky factor: with more damping, or not at all. off: what stands beside a diagonal of ones; text: of the
 * note, all of it where it is empty. */
static void check_indefinite(float off, int works, const char *text)
{
	struct cwp_setting *s = GPTQ("bits=4", "granularity=group", "group=40", "protected=original");
	struct cwp_grid g = grid_of(s);
	struct data *d = data_new(0);
	struct result *r = malloc(sizeof(*r));
	char note[256];
	void *made = NULL;

	assert_non_null(r);
	for (uint64_t i = 0; i < COLS; i++) {
		for (uint64_t k = 0; k < COLS; k++) {
			d->gram[i * COLS + k] = i == k ? 1 : (i ^ 1) == k ? off : 0;
		}
	}
	assert_int_equal(prepare(s, &g, d, NULL, &made, note), 0);
	assert_true((made != NULL) == works);
	if (text[0] == '\0') {
		assert_string_equal(note, "");
	} else if (strstr(note, text) == NULL) {
		fail_msg("'%s' lacks '%s'", note, text);
	}
	assert_int_equal(quantize(s, &g, d, 1, made, ROWS, r), 0);
	assert_memory_equal(r->exact, d->weight, sizeof(r->exact));
	((const struct cwp_quantizer *)plugin.interface)->release(made);
	cwe_settings_free(plugin.descriptor, s);
	free(r);
	free(d);
}

static void test_indefinite(void **state)
{
	(void)state;
	check_indefinite(0.9f, 1, "");
	check_indefinite(1.05f, 1, "with a damping of 0.1,");
	check_indefinite(9, 1, "with a damping of 10,");
	check_indefinite(12, 0, "rounded to nearest, since x x^T has no Cholesky factor even with a damping of 10");
}

static void test_useless_statistics(void **state)
{
	struct cwp_setting *s = GPTQ("bits=4");
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_grid g = grid_of(s);
	struct data *d = data_new(0);
	struct cwp_quantizer_module m = {.size = sizeof(m), .name = "m", .rows = ROWS, .cols = COLS, .weight = d->weight, .gram = d->gram};
	struct cwb_err err = {0};
	char note[256] = "";
	void *made = NULL;

	(void)state;
	d->gram[7 * COLS + 9] = NAN;
	assert_int_equal(prepare(s, &g, d, NULL, &made, note), CWP_ENUMBER);
	assert_int_equal(cwe_host_error(&host, "static", "m", CWP_ENUMBER, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "input channel 7 is not finite"));
	memset(d->gram, 0, sizeof(d->gram));
	assert_int_equal(q->prepare(&host.table, s, &g, &m, &made, note, sizeof(note)), 0);
	assert_null(made);
	assert_string_equal(note, "rounded to nearest, since no token came to it");
	assert_int_equal(prepare(s, &g, d, NULL, &made, note), 0);
	assert_null(made);
	assert_string_equal(note, "rounded to nearest, since all its inputs are 0");
	m.gram = NULL;
	assert_int_equal(q->prepare(&host.table, s, &g, &m, &made, note, sizeof(note)), CWP_EVALUE);
	make_gram(d->gram, 0);
	atomic_store(&host.cancelled, 1);
	assert_int_equal(prepare(s, &g, d, NULL, &made, note), CWP_ECANCELLED);
	atomic_store(&host.cancelled, 0);
	assert_int_equal(prepare(s, &g, d, NULL, &made, note), 0);
	struct result *r = malloc(sizeof(*r));
	assert_non_null(r);
	for (int i = 0; i < 2; i++) {
		d->weight[5 * COLS + 150] = i ? INFINITY : NAN;
		assert_int_equal(quantize(s, &g, d, 1, made, ROWS, r), CWP_ENUMBER);
	}
	q->release(made);
	q->release(NULL);
	free(r);
	free(d);
	cwe_settings_free(plugin.descriptor, s);
}

/* Modules of one input share a factor; it lives as long as one of them. */
static void test_shared(void **state)
{
	struct cwp_setting *s = GPTQ("bits=4", "act-order=true");
	const struct cwp_quantizer *q = plugin.interface;
	struct cwp_grid g = grid_of(s);
	struct data *d = data_new(0);
	struct result *first = malloc(sizeof(*first)), *second = malloc(sizeof(*second));
	char note[256];
	void *a = NULL, *b = NULL;

	(void)state;
	assert_true(first != NULL && second != NULL);
	assert_int_equal(prepare(s, &g, d, NULL, &a, note), 0);
	assert_int_equal(quantize(s, &g, d, 1, a, ROWS, first), 0);
	assert_int_equal(prepare(s, &g, d, a, &b, note), 0);
	q->release(a);
	assert_int_equal(quantize(s, &g, d, 1, b, ROWS, second), 0);
	assert_memory_equal(first, second, sizeof(*first));
	q->release(b);
	/* Threads change nothing. */
	for (uint32_t threads = 2; threads <= 5; threads += 3) {
		host_open(&host, &pool, threads);
		assert_int_equal(prepare(s, &g, d, NULL, &a, note), 0);
		assert_int_equal(quantize(s, &g, d, 1, a, ROWS, second), 0);
		assert_memory_equal(first, second, sizeof(*first));
		q->release(a);
	}
	host_open(&host, &pool, 1);
	free(first);
	free(second);
	free(d);
	cwe_settings_free(plugin.descriptor, s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_protected),
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_dead_columns),
		cmocka_unit_test(test_indefinite),
		cmocka_unit_test(test_useless_statistics),
		cmocka_unit_test(test_shared),
	};
	plugin = open_plugin("static");
	host_open(&host, &pool, 1);
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	cwe_pool_free(pool);
	free(plugin.path);
	return r;
}
