/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Job files with a matrix: the product, labels, texts of the points, and every refusal with its
 * place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job/sweep.h"

#define BASE                                                                                       \
	"model: m\noutput: out/sweep\n"                                                            \
	"calibrate: {critical: [{name: a, data: text, path: a.txt, samples: 8}]}\n"                \
	"score: {plugin: fisher}\nprotect: {fraction: 0.05}\n"                                     \
	"quantize: {plugin: static, options: {bits: 4}}\n"

static struct cwj_sweep *parse(const char *text)
{
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;

	if (cwj_sweep_parse(text, strlen(text), "/srv/jobs", &sweep, &err) != 0) {
		fail_msg("%d:%d: %s\n%s", err.line, err.column, err.message, text);
	}
	return sweep;
}

static void a_plain_job_is_one_point(void **state)
{
	struct cwj_sweep *s = parse(BASE);
	char a[65], b[65];

	(void)state;
	assert_int_equal(s->n_keys, 0);
	assert_int_equal(s->n_points, 1);
	assert_null(s->points[0].label);
	assert_null(s->points[0].text);
	assert_string_equal(s->points[0].job->output, "/srv/jobs/out/sweep");
	assert_int_equal(cwj_sweep_digest(s, a), 0);
	assert_int_equal(cwj_job_digest(s->points[0].job, b), 0);
	assert_string_equal(a, b);
	cwj_sweep_free(s);
}

static void the_product_in_order(void **state)
{
	struct cwj_sweep *s = parse(BASE "matrix:\n  protect.fraction: [0, .01, 0.5]\n"
					 "  quantize.options.bits: [4, 8]\n");
	static const char *const labels[] = {"fraction=0,bits=4", "fraction=0,bits=8",
		"fraction=.01,bits=4", "fraction=.01,bits=8", "fraction=0.5,bits=4",
		"fraction=0.5,bits=8"};

	(void)state;
	assert_int_equal(s->n_keys, 2);
	assert_string_equal(s->keys[1].path, "quantize.options.bits");
	assert_int_equal(s->n_points, 6);
	assert_string_equal(s->name, "sweep");
	assert_string_equal(s->output, "/srv/jobs/out/sweep");
	for (size_t i = 0; i < 6; i++) {
		const struct cwj_job *job = s->points[i].job;
		char output[64], name[64];
		assert_string_equal(s->points[i].label, labels[i]);
		snprintf(output, sizeof(output), "/srv/jobs/out/sweep/%s", labels[i]);
		snprintf(name, sizeof(name), "sweep %s", labels[i]);
		assert_string_equal(job->output, output);
		assert_string_equal(job->name, name);
		assert_true(job->fraction == (i < 2 ? 0 : i < 4 ? 0.01 : 0.5));
		assert_string_equal(job->quantize.options[0].value, i % 2 == 0 ? "4" : "8");
		assert_int_equal(job->quantize.n_options, 1);
		assert_int_equal(s->points[i].calibrated, i >= 2);
		/* Fraction and quantizer leave the calibration as it is; for 0 there is none. */
		assert_int_equal(s->points[i].first, i >= 2 ? 2 : i);
	}
	json_t *values = cwj_sweep_values(s, 3);
	assert_true(json_number_value(json_object_get(values, "protect.fraction")) == 0.01);
	assert_int_equal(json_integer_value(json_object_get(values, "quantize.options.bits")), 8);
	json_decref(values);
	cwj_sweep_free(s);
}

/* What a point's text says is what the point's job says, however the file wrote it. */
static void texts_are_whole_jobs(void **state)
{
	struct cwj_sweep *s = parse(
		"# a comment\nname: \"a: 'b' # c\"\nmodel: 'm \"x\"'\noutput: ../out/s\n"
		"limits: {memory: 4GiB, time: 1.5h}\n"
		"calibrate:\n  critical:\n  - {name: a, data: csv, path: \"tab\xc3\xa9, {x}.csv\", "
		"columns: {text: '1'}}\n"
		"score: {plugin: fisher, options: {error-aware: true, \"quoted\": \"true\"}}\n"
		"quantize: {plugin: static, skip: [], options: {bits: \"4\", note: '- a: b'}}\n"
		"evaluate: [{name: p, benchmark: perplexity, path: t.txt}]\n"
		"gate: [{metric: p.word_perplexity, at-most: 1e3}]\n"
		"matrix: {score.combine: [mean, rank], protect.fraction: [0.25, 1e-2], chat: "
		"[none, ./c.json]}\n");
	struct cwb_err err = {0};
	char a[65], b[65];

	(void)state;
	assert_int_equal(s->n_points, 8);
	assert_string_equal(s->name, "a: 'b' # c");
	assert_string_equal(s->points[7].label, "combine=rank,fraction=1e-2,chat=c.json");
	for (size_t i = 0; i < s->n_points; i++) {
		struct cwj_job *job = NULL;
		const struct cwj_sweep_point *point = &s->points[i];
		if (cwj_job_parse(point->text, point->length, "/srv/jobs", &job, &err) != 0) {
			fail_msg("%d:%d: %s\n%s", err.line, err.column, err.message, point->text);
		}
		assert_int_equal(strlen(point->text), point->length);
		json_t *left = cwj_job_json(job), *right = cwj_job_json(point->job);
		assert_true(json_equal(left, right));
		json_decref(left);
		json_decref(right);
		assert_int_equal(cwj_job_digest(job, a), 0);
		assert_int_equal(cwj_job_digest(point->job, b), 0);
		assert_string_equal(a, b);
		assert_string_equal(job->model, "/srv/jobs/m \"x\"");
		assert_string_equal(job->quantize.options[1].value, "- a: b");
		assert_int_equal(job->n_skip, 0);
		cwj_job_free(job);
	}
	cwj_sweep_free(s);
}

static void missing_keys_are_made(void **state)
{
	struct cwj_sweep *s =
		parse("model: m\noutput: o\ncalibrate: {critical: [{name: a, data: text, path: a}, "
		      "{name: b, data: text, path: b}]}\nscore: {plugin: fisher}\n"
		      "quantize: {plugin: static}\n"
		      "matrix: {\"calibrate.critical[1].samples\": [4, 5], quantize.options.bits: "
		      "[2, 3], "
		      "limits.threads: [1], protect.fraction: [.5], protect.scope: [layer]}\n");

	(void)state;
	assert_int_equal(s->n_points, 4);
	assert_int_equal(s->points[2].job->sets[1].samples, 5);
	assert_int_equal(s->points[2].job->sets[0].samples, 0);
	assert_int_equal(s->points[3].job->limits.threads, 1);
	assert_int_equal(s->points[3].job->scope, CWJ_SCOPE_LAYER);
	assert_string_equal(
		s->points[1].label, "samples=4,bits=3,threads=1,fraction=.5,scope=layer");
	/* The first two differ in their quantizer alone, the last two are calibrated on other
	 * samples. */
	assert_int_equal(s->points[0].first, 0);
	assert_int_equal(s->points[1].first, 0);
	assert_int_equal(s->points[2].first, 2);
	assert_int_equal(s->points[3].first, 2);
	cwj_sweep_free(s);
}

static void calibrations(void **state)
{
	struct cwj_sweep *s = parse(BASE
		"matrix: {score.combine: [mean, reference, rank], score.plugin: [fisher, gradient],"
		" score.beta: [1, 2]}\n");

	(void)state;
	for (size_t i = 0; i < s->n_points; i++) {
		assert_int_equal(s->points[i].first, s->points[i].choice[1] == 0 ? 0 : 2);
	}
	cwj_sweep_free(s);
	s = parse("model: m\noutput: o\nquantize: {plugin: static}\nmatrix: "
		  "{quantize.options.bits: [4, 8]}\n");
	assert_int_equal(s->points[1].first, 1); /* nothing is calibrated, nothing waits */
	cwj_sweep_free(s);
	/* What the scores themselves depend on is calibrated anew. */
	s = parse(BASE "matrix: {quantize.plugin: [static, int8], write.format: [dense, "
		       "compressed-tensors], score.store: [f32, bf16]}\n");
	for (size_t i = 0; i < s->n_points; i++) {
		assert_int_equal(s->points[i].first, s->points[i].choice[2]);
	}
	cwj_sweep_free(s);
	s = parse(BASE
		"matrix: {score.options.error-aware: [true, false], score.scale: [exact, pilot], "
		"seed: [1, 2]}\n");
	for (size_t i = 0; i < s->n_points; i++) {
		assert_int_equal(s->points[i].first, i);
	}
	cwj_sweep_free(s);
	s = parse(BASE "matrix: {score.scale: [pilot, exact], protect.fraction: [.1, .2]}\n");
	assert_int_equal(s->points[1].first, 1);
	assert_int_equal(s->points[2].first, 2);
	assert_int_equal(s->points[3].first, 2);
	cwj_sweep_free(s);
}

static void labels_are_unique_file_names(void **state)
{
	char text[512], x[101];
	struct cwj_sweep *s = parse("model: m\noutput: o\nquantize: {plugin: static}\n"
				    "matrix: {model: [/a/x y, /b/x_y, c/], write.shard: [1GB]}\n");

	(void)state;
	assert_string_equal(s->points[0].label, "model=x_y,shard=1GB");
	assert_string_equal(s->points[1].label, "point-2");
	assert_string_equal(s->points[2].label, "model=c_,shard=1GB");
	cwj_sweep_free(s);
	/* Two keys that end in the same are told apart. */
	s = parse(BASE "matrix: {score.plugin: [fisher], quantize.plugin: [static, int8]}\n");
	assert_string_equal(s->points[1].label, "score.plugin=fisher,quantize.plugin=int8");
	cwj_sweep_free(s);
	/* A name is cut rather than the values, between characters; a long label becomes a number.
	 */
	memset(x, 'n', 100);
	x[100] = '\0';
	snprintf(text, sizeof(text),
		"name: %s%.97s\xc3\xa9\nmodel: m\noutput: /\nquantize: {plugin: static}\nmatrix: "
		"{seed: [1]}\n",
		x, x);
	s = parse(text);
	assert_int_equal(strlen(s->points[0].job->name), 200);
	assert_string_equal(s->points[0].job->name + 192, "n seed=1");
	assert_string_equal(s->points[0].job->output, "/seed=1");
	cwj_sweep_free(s);
	snprintf(text, sizeof(text),
		"model: m\noutput: o\nquantize: {plugin: static}\nmatrix: {quantize.options.a: "
		"[%s]}\n",
		x);
	s = parse(text);
	assert_string_equal(s->points[0].label, "point-1");
	cwj_sweep_free(s);
}

static void refuse(const char *matrix, int code, const char *place, const char *field,
	const char *nearest, const char *part)
{
	char text[16384], got[32];
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;

	snprintf(text, sizeof(text), "%s%s", BASE, matrix);
	int rc = cwj_sweep_parse(text, strlen(text), "/srv/jobs", &sweep, &err);
	snprintf(got, sizeof(got), "%d:%d", err.line, err.column);
	if (rc != code || strcmp(got, place) != 0 || strcmp(err.field, field) != 0 ||
		strcmp(err.nearest, nearest) != 0 || strstr(err.message, part) == NULL) {
		fail_msg("%s\ngot %d %s [%s] near [%s] %s\nnot %d %s [%s] near [%s] with \"%s\"",
			matrix, rc, got, err.field, err.nearest, err.message, code, place, field,
			nearest, part);
	}
	assert_null(sweep);
	assert_int_equal(cwj_sweep_parse(text, strlen(text), "/srv/jobs", &sweep, NULL), code);
}

static void bad_values_are_blamed_in_the_matrix(void **state)
{
	(void)state;
	refuse("matrix: {protect.fraction: [0.1, 1.5]}\n", CWP_EVALUE, "7:34", "protect.fraction",
		"", "1.5 is outside 0..1");
	refuse("matrix: {score.combine: [mean, rang]}\n", CWP_EUNKNOWN, "7:32", "score.combine",
		"rank", "did you mean \"rank\"");
	refuse("matrix: {score.combine: [\"mean\", {a: b}]}\n", CWP_EVALUE, "7:34",
		"matrix.score.combine[1]", "", "needs a single value, found a mapping");
	refuse("matrix: {protect.fraction: [0.1, ~]}\n", CWP_EVALUE, "7:34",
		"matrix.protect.fraction[1]", "", "has no value");
	refuse("matrix: {score.combine: [\"a\\tb\"]}\n", CWP_EVALUE, "7:26",
		"matrix.score.combine[0]", "", "control characters");
	refuse("matrix: {protect.fraction: [.5, 0.1, 0.50]}\n", CWP_EVALUE, "7:38",
		"matrix.protect.fraction[2]", "", "stands in line 7 already");
	refuse("matrix: {score.combine: [rank, mean, rank]}\n", CWP_EVALUE, "7:38",
		"matrix.score.combine[2]", "", "stands in line 7 already");
	/* A combination that the job's own rules refuse. */
	refuse("matrix: {protect.unit: [weight, column], protect.scope: [global, row]}\n",
		CWP_EVALUE, "7:33", "protect.unit", "", "scope: row");
}

static void bad_paths(void **state)
{
	(void)state;
	refuse("matrix: {protect.fracton: [0.1]}\n", CWP_EUNKNOWN, "7:18", "protect.fracton",
		"fraction", "did you mean \"fraction\"");
	refuse("matrix: {protekt.fraction: [0.1]}\n", CWP_EUNKNOWN, "7:10", "protekt", "protect",
		"did you mean \"protect\"");
	refuse("matrix: {protect: [0.1]}\n", CWP_EVALUE, "7:20", "protect", "", "needs a mapping");
	refuse("matrix: {protect.: [0.1]}\n", CWP_EVALUE, "7:18", "matrix.protect.", "",
		"is no path of a field");
	refuse("matrix: {.fraction: [0.1]}\n", CWP_EVALUE, "7:10", "matrix..fraction", "",
		"is no path of a field");
	refuse("matrix: {\"\": [0.1]}\n", CWP_EVALUE, "7:10", "matrix.", "",
		"is no path of a field");
	refuse("matrix: {\"calibrate.critical[1].samples\": [3]}\n", CWP_EVALUE, "7:10",
		"matrix.calibrate.critical[1].samples", "", "the list has 1 element,");
	refuse("matrix:\n  calibrate.critical[01].samples: [3]\n", CWP_EVALUE, "8:21",
		"matrix.calibrate.critical[01].samples", "", "is written as [0], [1]");
	refuse("matrix:\n  calibrate.critical[x: [3]\n", CWP_EVALUE, "8:21",
		"matrix.calibrate.critical[x", "", "is written as [0], [1]");
	refuse("matrix:\n  calibrate.critical[0]samples: [3]\n", CWP_EVALUE, "8:24",
		"matrix.calibrate.critical[0]samples", "", "a dot is missing");
	refuse("matrix:\n  calibrate.utility[0].samples: [3]\n", CWP_EVALUE, "8:20",
		"matrix.calibrate.utility[0].samples", "", "no list here");
	refuse("matrix: {quantize.plugin.bits: [3]}\n", CWP_EVALUE, "7:25",
		"matrix.quantize.plugin.bits", "", "no mapping here");
	refuse("matrix: {output: [a, b]}\n", CWP_EVALUE, "7:10", "matrix.output", "",
		"cannot be swept");
	refuse("matrix: {name: [a, b]}\n", CWP_EVALUE, "7:10", "matrix.name", "",
		"cannot be swept");
	refuse("matrix: {matrix: [a, b]}\n", CWP_EVALUE, "7:10", "matrix.matrix", "",
		"cannot be swept");
	refuse("matrix: {limits: [3], limits.threads: [2]}\n", CWP_EVALUE, "7:23",
		"matrix.limits.threads", "", "name parts of each other");
	refuse("matrix: {limits.threads: [2], limits: [3]}\n", CWP_EVALUE, "7:31", "matrix.limits",
		"", "name parts of each other");
}

static void bad_matrices(void **state)
{
	char text[8192] = "matrix:\n  quantize.options.bits: [";
	size_t used = strlen(text);

	(void)state;
	refuse("matrix: [0.1]\n", CWP_EVALUE, "7:9", "matrix", "", "needs a mapping, found a list");
	refuse("matrix:\n", CWP_EVALUE, "7:8", "matrix", "", "needs a mapping");
	refuse("matrix: {}\n", CWP_EVALUE, "7:9", "matrix", "", "has no keys");
	refuse("matrix: {protect.fraction: 0.1}\n", CWP_EVALUE, "7:28", "matrix.protect.fraction",
		"", "needs a list");
	refuse("matrix: {protect.fraction: []}\n", CWP_EVALUE, "7:28", "matrix.protect.fraction",
		"", "has no values");
	refuse("matrix: {protect.fraction: [0.1], protect.fraction: [0.2]}\n", CWP_EFORMAT, "7:35",
		"", "", "a second time");
	for (int i = 0; i < 257; i++) {
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s%d", i > 0 ? ", " : "", i);
	}
	snprintf(text + used, sizeof(text) - used, "]\n");
	refuse(text, CWP_EVALUE, "8:26", "matrix.quantize.options.bits", "",
		"has 257 values, at most 256");
	refuse("matrix: {protect.fraction: [0, .1, .2, .3, .4, .5, .6], quantize.options.bits: [1, "
	       "2, 3, 4, 5, 6, 7],"
	       " seed: [1, 2, 3, 4, 5, 6], limits.threads: [1, 2]}\n",
		CWP_EVALUE, "7:9", "matrix", "", "more than 256 jobs (7 x 7 x 6 x ..)");
}

/* 256 jobs of a long file would be a flood. */
static void long_files_are_bounded(void **state)
{
	size_t size = 400000, used;
	char *text = malloc(size);
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;

	(void)state;
	used = (size_t)snprintf(
		text, size, "model: m\noutput: o\nquantize: {plugin: static, options: {a: x");
	memset(text + used, 'x', 300000);
	used += 300000;
	used += (size_t)snprintf(text + used, size - used, "}}\nmatrix: {seed: [");
	for (int i = 0; i < 30; i++) {
		used += (size_t)snprintf(text + used, size - used, "%s%d", i > 0 ? ", " : "", i);
	}
	used += (size_t)snprintf(text + used, size - used, "]}\n");
	assert_int_equal(cwj_sweep_parse(text, used, "/", &sweep, &err), CWP_EVALUE);
	assert_string_equal(err.field, "");
	assert_non_null(strstr(err.message, "30 jobs, whose files are longer than 8 MiB together"));
	free(text);
}

/* Errors of the file itself keep their words and places. */
static void the_file_itself(void **state)
{
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	static const char *const bad[][2] = {
		{"model: m\nquantize: {plugin: static}\nmatrix: {seed: [1, 2]}\n",
			"output: is required"},
		{"model: m\noutput: [a]\nquantize: {plugin: static}\nmatrix: {seed: [1, 2]}\n",
			"output: needs a single value"},
		{"model: m\noutput: ~/x\nquantize: {plugin: static}\nmatrix: {seed: [1, 2]}\n",
			"~ is not expanded"},
		{"name: [x]\nmodel: m\noutput: o\nquantize: {plugin: static}\nmatrix: {seed: "
		 "[1]}\n",
			""},
		{"- a\n", "needs a mapping"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cwb_err_clear(&err);
		int rc = cwj_sweep_parse(bad[i][0], strlen(bad[i][0]), "/srv", &sweep, &err);
		if (bad[i][1][0] != '\0' && (rc == 0 || strstr(err.message, bad[i][1]) == NULL)) {
			fail_msg("%s\n%d %s", bad[i][0], rc, err.message);
		}
		if (rc == 0) {
			cwj_sweep_free(sweep);
			sweep = NULL;
		}
	}
	cwb_err_clear(&err);
	assert_int_equal(cwj_sweep_parse("a: b", 4, "relative", &sweep, &err), CWP_EVALUE);
}

static void one_job_is_wanted_elsewhere(void **state)
{
	static const char text[] = BASE "matrix: {seed: [1, 2]}\n";
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	assert_int_equal(cwj_job_parse(text, strlen(text), "/srv", &job, &err), CWP_EVALUE);
	assert_int_equal(err.line, 7);
	assert_string_equal(err.field, "matrix");
	assert_non_null(strstr(err.message, "stands for several jobs"));
}

static void digests(void **state)
{
	struct cwj_sweep *a = parse(BASE "matrix: {seed: [1, 2]}\n"),
			 *b = parse(BASE "matrix:\n  seed:\n  - 1\n  - 2\n"),
			 *c = parse(BASE "matrix: {seed: [2, 1]}\n");
	char x[65], y[65], z[65];

	(void)state;
	assert_int_equal(cwj_sweep_digest(a, x), 0);
	assert_int_equal(cwj_sweep_digest(b, y), 0);
	assert_int_equal(cwj_sweep_digest(c, z), 0);
	assert_string_equal(x, y);
	assert_string_not_equal(x, z);
	cwj_sweep_free(a);
	cwj_sweep_free(b);
	cwj_sweep_free(c);
}

static void files(void **state)
{
	char path[] = "/tmp/cwp-sweep-XXXXXX", begin[64];
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	static const char good[] = BASE "matrix: {seed: [1, 2]}\n",
			  bad[] = BASE "matrix: {sead: [1, 2]}\n";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, good, sizeof(good) - 1), sizeof(good) - 1);
	assert_int_equal(cwj_sweep_read(path, &sweep, &err), 0);
	assert_string_equal(sweep->output, "/tmp/out/sweep");
	cwj_sweep_free(sweep);
	assert_int_equal(pwrite(fd, bad, sizeof(bad) - 1, 0), sizeof(bad) - 1);
	assert_int_equal(cwj_sweep_read(path, &sweep, &err), CWP_EUNKNOWN);
	snprintf(begin, sizeof(begin), "%s:7:10: sead: ", path);
	assert_int_equal(strncmp(err.message, begin, strlen(begin)), 0);
	assert_string_equal(err.nearest, "seed");
	(void)close(fd);
	(void)unlink(path);
	cwb_err_clear(&err);
	assert_true(cwj_sweep_read(path, &sweep, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_job_is_one_point),
		cmocka_unit_test(the_product_in_order),
		cmocka_unit_test(texts_are_whole_jobs),
		cmocka_unit_test(missing_keys_are_made),
		cmocka_unit_test(calibrations),
		cmocka_unit_test(labels_are_unique_file_names),
		cmocka_unit_test(bad_values_are_blamed_in_the_matrix),
		cmocka_unit_test(bad_paths),
		cmocka_unit_test(bad_matrices),
		cmocka_unit_test(long_files_are_bounded),
		cmocka_unit_test(the_file_itself),
		cmocka_unit_test(one_job_is_wanted_elsewhere),
		cmocka_unit_test(digests),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
