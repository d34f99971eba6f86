/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs as one GGUF file of the small reference models, written and read back. Exit 77 without the reference data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/gguf_output.h"
#include "engine/format/manifest.h"
#include "engine/format/overlay.h"
#include "tests/unit/engine/output/toy.h"

static const char *const families[] = {"llama31", "smollm2", "mistral", "mixtral", "qwen2", "qwen2moe", "qwen3", "gemma", "gemma2",
	"gemma3", "phi3", "olmo2"};

static char *model_path(const char *name)
{
	const char *shared = getenv("CWP_SHARED");
	char *path;

	assert_true(asprintf(&path, "%s/golden/%s", shared ? shared : "", name) > 0);
	return path;
}

static struct cwe_source *open_model(const char *path)
{
	struct cwe_source *s = NULL;
	struct cwb_err err = {0};

	if (cwe_source_open(path, 0, &s, &err))
		fail_msg("%s", err.message);
	return s;
}

static struct cwe_source *open_golden(const char *name)
{
	char *path = model_path(name);
	struct cwe_source *s = open_model(path);

	free(path);
	return s;
}

static int ends_with(const char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	return n > t && !strcmp(name + n - t, tail);
}

/* A model with its modules quantized, or without. */
struct written {
	struct cwe_source *source;
	struct toy_result *result;
	size_t n;
	char *out;
	struct cwe_writer_options options;
};

static struct written begin(const char *name, const struct cwp_grid *grid, double fraction, int carrier)
{
	struct written w = {.source = open_golden(name), .out = toy_folder()};

	w.options = (struct cwe_writer_options){w.out, CWJ_FORMAT_GGUF, carrier, 1u << 30};
	w.result = calloc(w.source->weights->count, sizeof *w.result);
	for (size_t i = 0; grid && i < w.source->weights->count; i++) {
		const char *tensor = w.source->weights->tensors[i].name;
		char *module = strndup(tensor, strlen(tensor) - strlen(".weight"));

		if (ends_with(tensor, "_proj.weight") || strstr(tensor, ".experts."))
			toy_quantize(w.source, module, grid, fraction, i, &w.result[w.n++]);
		free(module);
	}
	return w;
}

static void end(struct written *w)
{
	for (size_t i = 0; i < w->n; i++)
		toy_result_free(&w->result[i]);
	free(w->result);
	cwe_source_close(w->source);
	toy_remove(w->out);
	free(w->out);
}

static float *read_all(struct cwe_weights *w, const char *name, uint64_t *ret_bytes)
{
	const struct cwe_tensor *t = cwe_weights_find(w, name);
	struct cwb_err err = {0};
	float *x;

	if (!t)
		fail_msg("no tensor %s", name);
	*ret_bytes = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1) * sizeof *x;
	x = malloc(*ret_bytes);
	assert_int_equal(cwe_weights_read_f32(w, t, 0, t->shape[0], x, &err), 0);
	return x;
}

/* The tensors of both are equal; norms that were stored as 1 + w are so after adding 1. */
static void compare(struct cwe_source *wanted, struct cwe_source *found)
{
	const char *type = json_string_value(json_object_get(wanted->config, "model_type"));

	assert_int_equal(wanted->weights->count, found->weights->count);
	for (size_t i = 0; i < wanted->weights->count; i++) {
		const char *name = wanted->weights->tensors[i].name;
		uint64_t n, m;
		float *x = read_all(wanted->weights, name, &n), *y = read_all(found->weights, name, &m);

		assert_int_equal(n, m);
		for (uint64_t k = 0; k < n / 4 && strstr(type, "gemma") && ends_with(name, "norm.weight"); k++) {
			x[k] += 1;
			y[k] += 1;
		}
		if (memcmp(x, y, n) != 0)
			fail_msg("%s: %s differs", type, name);
		free(x);
		free(y);
	}
}

/* Nothing quantized: the same model. What is written of that file is the same again, byte for byte the second time. */
static void test_copies(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
		struct written w = begin(families[f], NULL, 0, CWJ_CARRIER_NONE);
		char *file = toy_path(w.out, CWE_GGUF_FILE), *second = toy_folder(), *third = toy_folder(), *again;
		struct cwe_writer_options o = w.options;
		struct cwe_source *s;
		size_t n, m;
		char *a, *b;

		toy_write(w.source, &w.options, NULL, 0);
		s = open_model(w.out);
		assert_int_equal(s->kind, CWE_SOURCE_OUTPUT);
		compare(w.source, s);
		cwe_source_close(s);
		s = open_model(file);
		assert_int_equal(s->kind, CWE_SOURCE_GGUF);
		o.directory = second;
		toy_write(s, &o, NULL, 0);
		cwe_source_close(s);
		again = toy_path(second, CWE_GGUF_FILE);
		s = open_model(again);
		compare(w.source, s);
		o.directory = third;
		toy_write(s, &o, NULL, 0);
		cwe_source_close(s);
		a = toy_read(second, CWE_GGUF_FILE, &n);
		b = toy_read(third, CWE_GGUF_FILE, &m);
		assert_int_equal(n, m);
		assert_memory_equal(a, b, n);
		free(a);
		free(b);
		free(again);
		free(file);
		toy_remove(second);
		toy_remove(third);
		free(second);
		free(third);
		end(&w);
	}
}

static void check_values(const struct written *w)
{
	struct cwe_source *s = open_model(w->out);

	for (size_t i = 0; i < w->n; i++) {
		float *expected = toy_expected(w->source, &w->result[i]), *found;
		char *name;
		uint64_t n;

		assert_true(asprintf(&name, "%s.weight", w->result[i].module.name) > 0);
		found = read_all(s->weights, name, &n);
		if (memcmp(found, expected, n) != 0)
			fail_msg("%s differs", name);
		free(name);
		free(found);
		free(expected);
	}
	cwe_source_close(s);
}

static void check_quantized(const char *name, uint32_t bits, uint32_t group)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, bits, 1, group, CWP_ACT_NONE);
	struct written w = begin(name, &grid, 0, CWJ_CARRIER_NONE);
	struct cwe_output_module *module = calloc(w.n, sizeof *module);
	struct cwe_writer_size planned = {0};
	struct cwe_output_size size = {0};
	struct cwb_err err = {0};
	char digest[65];
	json_t *facts = json_object();
	uint64_t weights = 0;
	size_t bytes;

	toy_write(w.source, &w.options, w.result, w.n);
	check_values(&w);
	free(toy_read(w.out, CWE_GGUF_FILE, &bytes));
	for (size_t i = 0; i < w.n; i++) {
		module[i] = w.result[i].module;
		weights += module[i].rows * module[i].cols;
	}
	assert_int_equal(cwe_writer_measure(w.source, &w.options, module, w.n, &planned, &err), 0);
	assert_int_equal(planned.files, bytes);
	assert_int_equal(planned.quantized_bytes, weights * (bits == 8 ? 34 : 18) / 32);
	assert_int_equal(cwe_output_measure(w.out, &size, &err), 0);
	assert_int_equal(size.modules, w.n);
	assert_int_equal(size.quantized_weights, weights);
	assert_int_equal(size.quantized_bytes, planned.quantized_bytes);
	if (cwe_manifest_write(w.out, facts, digest, &err) || cwe_manifest_verify(w.out, NULL, &err))
		fail_msg("%s", err.message);
	json_decref(facts);
	free(module);
	end(&w);
}

static void test_quantized(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++)
		if (strcmp(families[f], "qwen2moe") != 0) /* whose experts have 48 columns */
			check_quantized(families[f], f % 2 ? 8 : 4, 32);
	check_quantized("llama31", 8, 0);
	check_quantized("llama31", 4, 0);
}

/* A finished output is gone on with as it is, and anew where one of its files is missing. */
static void finish_again(const struct written *w)
{
	struct cwe_output_module *module = calloc(w->n, sizeof *module);
	char *mask = toy_path(w->out, CWE_MASK_FILE);
	struct cwe_writer *writer = NULL;
	struct cwb_err err = {0};

	for (size_t i = 0; i < w->n; i++)
		module[i] = w->result[i].module;
	for (int missing = 0; missing < 2; missing++) {
		assert_int_equal(cwe_writer_new(w->source, &w->options, module, w->n, &writer, &err), 0);
		assert_int_equal(cwe_writer_has(writer, module[0].name), !missing);
		assert_int_equal(cwe_writer_finish(writer, &err), missing ? CWP_ESTATE : 0);
		cwe_writer_free(writer);
		toy_remove(mask);
	}
	free(mask);
	free(module);
}

/* Dequantized values in the source's dtype with protected ones exact: any grid. */
static void test_dense(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 3, 0, 16, CWP_ACT_NONE);

	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f += 3) {
		struct written w = begin(families[f], &grid, 0.1, CWJ_CARRIER_DENSE);

		toy_write(w.source, &w.options, w.result, w.n);
		check_values(&w);
		free(toy_read(w.out, CWE_MASK_FILE, NULL)); /* which are protected */
		finish_again(&w);
		end(&w);
	}
}

static void write_module(struct cwe_writer *writer, const struct toy_result *r)
{
	struct cwb_err err = {0};

	if (cwe_writer_module(writer, &r->module, r->codes, r->scales, r->zeros, r->mask, r->stride, &err))
		fail_msg("%s", err.message);
}

static struct cwe_writer *open_writer(const struct written *w, const struct cwe_output_module *module)
{
	struct cwe_writer *writer = NULL;
	struct cwb_err err = {0};

	if (cwe_writer_new(w->source, &w->options, module, w->n, &writer, &err))
		fail_msg("%s", err.message);
	return writer;
}

static void copy_rest(struct cwe_writer *writer, const struct cwe_source *source)
{
	for (size_t i = 0; i < source->weights->count; i++) {
		const char *name = source->weights->tensors[i].name;

		if (!ends_with(name, "_proj.weight") && !strstr(name, ".experts."))
			assert_int_equal(cwe_writer_copy(writer, name, NULL), 0);
	}
}

/* The file is known, with the digest of its bytes. */
static void check_digest(const struct cwe_writer *writer, const char *out)
{
	struct cwb_known list = {0};
	struct cwb_known_file file;
	struct stat st;
	char known[CWB_DIGEST_HEX], read[CWB_DIGEST_HEX], *path = toy_path(out, CWE_GGUF_FILE);

	assert_int_equal(cwe_writer_digests(writer, &list, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	cwb_known_identify(&st, &file);
	assert_true(cwb_known_find(&list, &file, known));
	assert_int_equal(cwb_digest_file(path, read, NULL, NULL), 0);
	assert_string_equal(known, read);
	cwb_known_clear(&list);
	free(path);
}

/* What an earlier attempt finished is read again. */
static void check_no_digest(const struct cwe_writer *writer)
{
	struct cwb_known list = {0};

	assert_int_equal(cwe_writer_digests(writer, &list, NULL), 0);
	assert_int_equal(list.count, 0);
	cwb_known_clear(&list);
}

/* Digests behind the writer: modules in order, from the last to the first, and with one written twice. */
static void test_digests(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE);

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct written w = begin(i ? "llama31" : "mixtral", &grid, 0, CWJ_CARRIER_NONE);
		struct cwe_output_module *module = calloc(w.n, sizeof *module);
		struct cwe_writer *writer;

		for (size_t k = 0; k < w.n; k++)
			module[k] = w.result[k].module;
		writer = open_writer(&w, module);
		w.result[0].codes[0] ^= i == 2;
		for (size_t k = 0; k < w.n; k++)
			write_module(writer, &w.result[i == 1 ? w.n - 1 - k : k]);
		copy_rest(writer, w.source);
		if (i == 2) { /* the right code, when the thread has probably read the other one */
			(void)usleep(20000);
			w.result[0].codes[0] ^= 1;
			write_module(writer, &w.result[0]);
		}
		assert_int_equal(cwe_writer_finish(writer, NULL), 0);
		check_digest(writer, w.out);
		cwe_writer_free(writer);
		check_values(&w);
		free(module);
		end(&w);
	}
}

/* Goes on after a kill with what was whole, in another order, and makes the same bytes; not with another plan. */
static void test_resumes(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct written w = begin("mixtral", &grid, 0, CWJ_CARRIER_NONE), other;
	struct cwe_output_module *module = calloc(w.n, sizeof *module);
	struct cwe_writer *writer;
	struct cwb_err err = {0};
	char *once, *twice, *out = toy_folder();
	size_t n, m;

	(void)state;
	toy_write(w.source, &w.options, w.result, w.n);
	once = toy_read(w.out, CWE_GGUF_FILE, &n);
	other = w;
	other.options.directory = out;
	for (size_t i = 0; i < w.n; i++)
		module[i] = w.result[i].module;
	writer = open_writer(&other, module);
	for (size_t i = 0; i < w.n / 2; i++)
		write_module(writer, &w.result[w.n - 1 - i]);
	cwe_writer_free(writer);
	writer = open_writer(&other, module);
	for (size_t i = 0; i < w.n; i++) {
		assert_int_equal(cwe_writer_has(writer, w.result[i].module.name), i >= w.n - w.n / 2);
		if (i < w.n - w.n / 2)
			write_module(writer, &w.result[i]);
	}
	assert_int_equal(cwe_writer_finish(writer, &err), CWP_ESTATE); /* the other tensors are not there yet */
	cwb_err_clear(&err);
	copy_rest(writer, w.source);
	assert_int_equal(cwe_writer_finish(writer, &err), 0);
	check_digest(writer, out);
	cwe_writer_free(writer);
	twice = toy_read(out, CWE_GGUF_FILE, &m);
	assert_int_equal(n, m);
	assert_memory_equal(once, twice, n);
	writer = open_writer(&other, module); /* finished: nothing is left to do */
	assert_int_equal(cwe_writer_has(writer, w.result[0].module.name), 1);
	assert_int_equal(cwe_writer_finish(writer, &err), 0);
	check_no_digest(writer);
	cwe_writer_free(writer);
	module[0].grid.group = 64;
	for (size_t i = 1; i < w.n; i++)
		module[i].grid.group = 64;
	writer = open_writer(&other, module); /* another plan: from the start */
	assert_int_equal(cwe_writer_has(writer, w.result[0].module.name), 0);
	cwe_writer_free(writer);
	free(once);
	free(twice);
	free(module);
	toy_remove(out);
	free(out);
	end(&w);
}

/* An output whose file was cut or changed is found, and a name that stands twice. */
static void test_verifies(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE);
	struct written w = begin("qwen3", &grid, 0, CWJ_CARRIER_NONE);
	char digest[65], *file = toy_path(w.out, CWE_GGUF_FILE), *manifest = toy_path(w.out, "manifest.json"), *data;
	json_t *facts = json_object();
	struct cwb_err err = {0};
	size_t n;

	(void)state;
	toy_write(w.source, &w.options, w.result, w.n);
	assert_int_equal(cwe_manifest_write(w.out, facts, digest, &err), 0);
	assert_int_equal(cwe_manifest_verify(w.out, NULL, &err), 0);
	data = toy_read(w.out, CWE_GGUF_FILE, &n);
	data[n / 2] ^= 1;
	toy_put(file, data, n);
	assert_int_equal(cwe_manifest_verify(w.out, NULL, &err), CWP_EDIGEST);
	cwb_err_clear(&err);
	data[n / 2] ^= 1;
	data[0] = 'g';
	toy_put(file, data, n);
	toy_remove(manifest);
	assert_int_equal(cwe_manifest_write(w.out, facts, digest, &err), 0);
	assert_int_equal(cwe_manifest_verify(w.out, NULL, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "does not begin with GGUF"));
	free(data);
	free(file);
	free(manifest);
	json_decref(facts);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_quantized),
		cmocka_unit_test(test_dense),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_resumes),
		cmocka_unit_test(test_verifies),
	};
	char *path = model_path("llama31");
	int there = !access(path, R_OK);

	free(path);
	if (!there) {
		puts("skipped: no reference models below CWP_SHARED");
		return 77;
	}
	return cmocka_run_group_tests_name("gguf outputs", tests, NULL, NULL);
}
