/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The project's scorers against their formulas in f64, and in tiles of any height. */
#include <math.h>

#include <cwp/scorer.h>

#include "tests/plugins/common.h"

enum { ROWS = 23, COLS = 37, N = ROWS * COLS, SAMPLES = 5 };

struct data {
	float weight[N], sum[N], abs[N], sq[N], error[N];
	float act[COLS];
	float out[N], tiled[N];
};

static struct data *data_new(void)
{
	struct data *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (int i = 0; i < N; i++) {
		d->weight[i] = weight_at(1, (uint64_t)i);
		d->sum[i] = weight_at(2, (uint64_t)i);
		d->abs[i] = fabsf(d->sum[i]) + fabsf(weight_at(3, (uint64_t)i));
		d->sq[i] = d->abs[i] * d->abs[i];
		d->error[i] = weight_at(4, (uint64_t)i) * 0.01f;
	}
	for (int c = 0; c < COLS; c++) {
		d->act[c] = fabsf(weight_at(5, (uint64_t)c)) * 1000;
	}
	return d;
}

/* Statistics that were not asked for are absent, as in a job. */
static struct cwp_scorer_tile tile_of(const struct data *d, uint32_t needs, int row, int rows)
{
	const size_t at = (size_t)row * COLS;

	return (struct cwp_scorer_tile){
		.size = sizeof(struct cwp_scorer_tile),
		.rows = (uint64_t)rows,
		.cols = COLS,
		.samples = SAMPLES,
		.tokens = 100,
		.weight = d->weight + at,
		.grad_sum = needs & CWP_STAT_GRAD_SUM ? d->sum + at : NULL,
		.grad_abs = needs & CWP_STAT_GRAD_ABS ? d->abs + at : NULL,
		.grad_sq = needs & CWP_STAT_GRAD_SQ ? d->sq + at : NULL,
		.act_sq = needs & CWP_STAT_ACT_SQ ? d->act : NULL,
	};
}

/* Runs score() on the whole and in tiles; d->out is the result. */
static void run(const struct cwp_scorer *s, const struct cwp_setting *settings, uint32_t needs, struct data *d)
{
	struct cwp_scorer_tile tile = tile_of(d, needs, 0, ROWS);

	assert_int_equal(s->score(settings, &tile, d->out), 0);
	for (int height = 1; height < ROWS; height += 4) {
		memset(d->tiled, 0xff, sizeof(d->tiled));
		for (int row = 0; row < ROWS; row += height) {
			tile = tile_of(d, needs, row, ROWS - row < height ? ROWS - row : height);
			assert_int_equal(s->score(settings, &tile, d->tiled + (size_t)row * COLS), 0);
		}
		assert_memory_equal(d->out, d->tiled, sizeof(d->out));
	}
	/* Nothing to do is no error; missing statistics, no samples and unknown flags are. */
	tile = tile_of(d, needs, 0, 0);
	assert_int_equal(s->score(settings, &tile, d->tiled), 0);
	tile = tile_of(d, 0, 0, ROWS);
	assert_int_equal(s->score(settings, &tile, d->tiled), CWP_EMISSING);
	tile = tile_of(d, needs, 0, ROWS);
	tile.samples = 0;
	assert_int_equal(s->score(settings, &tile, d->tiled), CWP_EVALUE);
	tile = tile_of(d, needs, 0, ROWS);
	tile.flags = 2;
	assert_int_equal(s->score(settings, &tile, d->tiled), CWP_EVALUE);
}

static void near(float got, double wanted)
{
	if (!(fabs((double)got - wanted) <= 4e-7 * fabs(wanted))) {
		fail_msg("%.9g instead of %.9g", (double)got, wanted);
	}
}

static void test_gradient(void **state)
{
	struct cwe_plugin p = open_plugin("gradient");
	const struct cwp_scorer *s = p.interface;
	static const char *const form[] = {"form=absolute", "form=signed", "form=snip"};
	static const uint32_t needs[] = {CWP_STAT_GRAD_ABS, CWP_STAT_GRAD_SUM, CWP_STAT_GRAD_ABS};
	struct data *d = data_new();

	(void)state;
	assert_null(s->finish);
	for (int f = 0; f < 3; f++) {
		struct cwp_setting *settings = SETTINGS(&p, form[f]);
		assert_int_equal(s->needs(settings, "mean"), needs[f]);
		run(s, settings, needs[f], d);
		for (int i = 0; i < N; i++) {
			double mean = (double)(f == 1 ? d->sum[i] : d->abs[i]) / SAMPLES;
			near(d->out[i], f == 2 ? fabs((double)d->weight[i]) * mean : mean);
		}
		cwe_settings_free(p.descriptor, settings);
	}
	struct cwp_setting *settings = settings_of(&p, NULL);
	assert_string_equal(settings[0].string, "absolute");
	cwe_settings_free(p.descriptor, settings);
	free(d);
	free(p.path);
}

static void test_wanda(void **state)
{
	struct cwe_plugin p = open_plugin("wanda");
	const struct cwp_scorer *s = p.interface;
	struct cwp_setting *settings = settings_of(&p, NULL);
	struct data *d = data_new();

	(void)state;
	assert_int_equal(p.descriptor->n_options, 0);
	assert_null(s->finish);
	assert_int_equal(s->needs(settings, "mean"), CWP_STAT_ACT_SQ);
	run(s, settings, CWP_STAT_ACT_SQ, d);
	for (int i = 0; i < N; i++) {
		near(d->out[i], fabs((double)d->weight[i]) * sqrt((double)d->act[i % COLS] / SAMPLES));
	}
	cwe_settings_free(p.descriptor, settings);
	free(d);
	free(p.path);
}

static void test_fisher(void **state)
{
	struct cwe_plugin p = open_plugin("fisher");
	const struct cwp_scorer *s = p.interface;
	struct cwp_setting *settings = settings_of(&p, NULL);
	struct data *d = data_new();

	(void)state;
	run(s, settings, CWP_STAT_GRAD_SQ, d);
	for (int i = 0; i < N; i++) {
		near(d->out[i], (double)d->sq[i] / SAMPLES);
	}
	cwe_settings_free(p.descriptor, settings);
	free(d);
	free(p.path);
}

static void test_error_aware(void **state)
{
	struct cwe_plugin p = open_plugin("fisher");
	const struct cwp_scorer *s = p.interface;
	struct data *d = data_new();
	static const struct {
		const char *option, *combine;
		int aware;
	} cases[] = {{"error-aware=auto", "mean", 1}, {"error-aware=auto", "reference", 0}, {"error-aware=auto", "rank", 1},
		{"error-aware=true", "mean", 1}, {"error-aware=true", "reference", 1}, {"error-aware=false", "mean", 0},
		{"error-aware=false", "reference", 0}};

	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct cwp_setting *settings = SETTINGS(&p, cases[c].option);
		uint32_t needs = s->needs(settings, cases[c].combine);
		assert_int_equal(needs, CWP_STAT_GRAD_SQ | (cases[c].aware ? CWP_STAT_QUANT_ERROR : 0));
		memcpy(d->out, d->sum, sizeof(d->out)); /* combined scores have both signs */
		assert_int_equal(s->finish(settings, ROWS, COLS, d->weight, cases[c].aware ? d->error : NULL, d->out), 0);
		for (int i = 0; i < N; i++) {
			near(d->out[i], (double)d->sum[i] * (cases[c].aware ? (double)d->error[i] * (double)d->error[i] : 1));
		}
		cwe_settings_free(p.descriptor, settings);
	}
	/* true without the error is the host's fault, and is said. */
	struct cwp_setting *settings = SETTINGS(&p, "error-aware=true");
	assert_int_equal(s->finish(settings, ROWS, COLS, d->weight, NULL, d->out), CWP_EMISSING);
	cwe_settings_free(p.descriptor, settings);
	/* Small factors do not underflow on the way: 1e30 * (1e-25)^2 is a normal number. */
	settings = SETTINGS(&p, "error-aware=true");
	float score = 1e30f, error = 1e-25f;
	assert_int_equal(s->finish(settings, 1, 1, d->weight, &error, &score), 0);
	near(score, 1e30f * ((double)1e-25f * (double)1e-25f));
	cwe_settings_free(p.descriptor, settings);
	free(d);
	free(p.path);
}

static uint64_t mixed(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* The number of place i, from the definition. */
static float random_at(uint64_t seed, const char *module, uint64_t i)
{
	uint64_t h = mixed(seed + 0x9e3779b97f4a7c15u);
	for (const char *c = module; *c != '\0'; c++) {
		h = mixed(h + 0x9e3779b97f4a7c15u + (unsigned char)*c);
	}
	return ((float)(mixed(h + (i + 1) * 0x9e3779b97f4a7c15u) >> 41) + 0.5f) / 8388608.0f;
}

static void test_control_random(void **state)
{
	struct cwe_plugin p = open_plugin("control");
	const struct cwp_scorer *s = p.interface;
	struct cwp_setting *settings = SETTINGS(&p, "seed=3"), *other = SETTINGS(&p, "seed=4");
	struct data *d = data_new();
	double sum = 0;

	(void)state;
	assert_null(s->finish);
	assert_int_equal(s->needs(settings, "mean"), 0);
	assert_string_equal(settings[0].string, "random");
	for (int height = 1; height <= ROWS; height += 2) {
		memset(d->tiled, 0xff, sizeof(d->tiled));
		for (int row = 0; row < ROWS; row += height) {
			struct cwp_scorer_tile tile = tile_of(d, 0, row, ROWS - row < height ? ROWS - row : height);
			tile.row = (uint64_t)row;
			tile.module = "model.layers.2.mlp.up_proj";
			assert_int_equal(s->score(settings, &tile, d->tiled + (size_t)row * COLS), 0);
		}
		for (int i = 0; i < N; i++) {
			assert_true(d->tiled[i] == random_at(3, "model.layers.2.mlp.up_proj", (uint64_t)i));
			assert_true(d->tiled[i] > 0 && d->tiled[i] < 1);
			sum += (double)d->tiled[i];
		}
	}
	const int times = (ROWS + 1) / 2;
	sum /= (double)N * times;
	assert_true(sum > 0.45 && sum < 0.55);
	/* Another seed, another matrix: other numbers. The weights and the set are not looked at. */
	struct cwp_scorer_tile tile = tile_of(d, 0, 0, ROWS);
	tile.module = "model.layers.2.mlp.up_proj";
	assert_int_equal(s->score(other, &tile, d->out), 0);
	assert_memory_not_equal(d->out, d->tiled, sizeof(d->out));
	tile.module = "model.layers.3.mlp.up_proj";
	assert_int_equal(s->score(settings, &tile, d->out), 0);
	assert_memory_not_equal(d->out, d->tiled, sizeof(d->out));
	/* A host that does not say which rows these are, and one that says what is not known. */
	tile.module = NULL;
	assert_int_equal(s->score(settings, &tile, d->out), CWP_EMISSING);
	tile.module = "m";
	tile.size = offsetof(struct cwp_scorer_tile, row);
	assert_int_equal(s->score(settings, &tile, d->out), CWP_EMISSING);
	tile.size = sizeof(tile);
	tile.flags = 2;
	assert_int_equal(s->score(settings, &tile, d->out), CWP_EVALUE);
	cwe_settings_free(p.descriptor, settings);
	cwe_settings_free(p.descriptor, other);
	free(d);
	free(p.path);
}

static void test_control_magnitude(void **state)
{
	struct cwe_plugin p = open_plugin("control");
	const struct cwp_scorer *s = p.interface;
	struct cwp_setting *settings = SETTINGS(&p, "form=magnitude");
	struct data *d = data_new();
	struct cwp_scorer_tile tile = tile_of(d, 0, 0, ROWS);

	(void)state;
	assert_int_equal(s->needs(settings, "mean"), 0);
	assert_int_equal(s->score(settings, &tile, d->out), 0);
	for (int i = 0; i < N; i++) {
		assert_true(d->out[i] == fabsf(d->weight[i]));
	}
	tile.flags = 1;
	assert_int_equal(s->score(settings, &tile, d->out), CWP_EVALUE);
	cwe_settings_free(p.descriptor, settings);
	free(d);
	free(p.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradient),
		cmocka_unit_test(test_wanda),
		cmocka_unit_test(test_fisher),
		cmocka_unit_test(test_error_aware),
		cmocka_unit_test(test_control_random),
		cmocka_unit_test(test_control_magnitude),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
