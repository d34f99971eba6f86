/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs of the small reference models: every projection quantized and protected, tied and untied heads. Exit 77 without
 * the reference data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/manifest.h"
#include "tests/unit/engine/output/toy.h"

static char *model_path(const char *name)
{
	const char *shared = getenv("CWP_SHARED");
	char *path;

	assert_true(asprintf(&path, "%s/golden/%s", shared ? shared : "", name) > 0);
	return path;
}

static int is_projection(const char *tensor)
{
	size_t n = strlen(tensor), t = strlen("_proj.weight");

	return n > t && !strcmp(tensor + n - t, "_proj.weight");
}

static void check_model(const char *name, const struct cwp_grid *grid, size_t modules)
{
	char *model = model_path(name), *out = toy_folder(), digest[65];
	struct cwe_writer_options o = {out, CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, 60000};
	struct cwe_source *s, *again;
	struct toy_result *r;
	struct cwe_output_size size;
	struct cwb_err err = {0};
	uint64_t protected = 0;
	json_t *facts = json_object();
	size_t n = 0, i;

	assert_int_equal(cwe_source_open(model, 0, &s, &err), 0);
	r = calloc(s->weights->count, sizeof *r);
	for (i = 0; i < s->weights->count; i++) {
		const char *tensor = s->weights->tensors[i].name;

		if (is_projection(tensor)) {
			char *module = strndup(tensor, strlen(tensor) - strlen(".weight"));

			toy_quantize(s, module, grid, 0.05, i, &r[n++]);
			free(module);
		}
	}
	assert_int_equal(n, modules);
	toy_write(s, &o, r, n);
	if (cwe_manifest_write(out, facts, digest, &err) || cwe_manifest_verify(out, NULL, &err))
		fail_msg("%s", err.message);
	assert_int_equal(cwe_source_open(out, 0, &again, &err), 0);
	assert_int_equal(again->weights->count, s->weights->count);
	for (i = 0; i < n; i++) {
		uint64_t bytes = r[i].module.rows * r[i].module.cols * 4;
		float *expected = toy_expected(s, &r[i]), *got = malloc(bytes);
		const struct cwe_tensor *t;
		char tensor[256];

		snprintf(tensor, sizeof tensor, "%s.weight", r[i].module.name);
		t = cwe_weights_find(again->weights, tensor);
		assert_non_null(t);
		assert_int_equal(cwe_weights_read_f32(again->weights, t, 0, t->shape[0], got, &err), 0);
		assert_memory_equal(got, expected, bytes);
		protected += r[i].module.protected_weights;
		free(expected);
		free(got);
		toy_result_free(&r[i]);
	}
	assert_int_equal(cwe_output_measure(out, &size, &err), 0);
	assert_int_equal(size.modules, modules);
	assert_int_equal(size.protected_weights, protected);
	cwe_source_close(again);
	cwe_source_close(s);
	json_decref(facts);
	free(r);
	toy_remove(out);
	free(out);
	free(model);
}

static void test_models(void **state)
{
	struct cwp_grid w4 = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwp_grid w8 = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN);
	struct cwp_grid fp8 = toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TOKEN);

	(void)state;
	check_model("llama31", &w4, 14);
	check_model("llama31", &fp8, 14);
	check_model("smollm2", &w4, 14);
	check_model("smollm2", &w8, 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),
	};
	char *model = model_path("llama31");
	int absent = access(model, R_OK);

	if (absent)
		fprintf(stderr, "skipped: %s is absent (CWP_SHARED)\n", model);
	free(model);
	return absent ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
