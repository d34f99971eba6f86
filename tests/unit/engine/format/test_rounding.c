/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every bf16 value cast to FP8 E4M3FN, against what PyTorch computed. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/format/dtype.h"
#include "engine/format/safetensors.h"

static struct cwe_safetensors *reference;

static int32_t *load(const char *name)
{
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(reference, name);
	int32_t *values = malloc(65536 * sizeof *values);

	assert_non_null(values);
	assert_non_null(e);
	assert_int_equal(e->dtype, CWE_DTYPE_I32);
	assert_int_equal(e->bytes, 65536 * sizeof *values);
	assert_int_equal(cwe_safetensors_read(reference, e, 0, values, e->bytes, NULL), 0);
	return values;
}

static void test_all_bf16(void **state)
{
	int32_t *bits = load("bf16_bits"), *codes = load("e4m3fn_saturating_bits"), *is_nan = load("is_nan");
	int checked = 0;

	(void)state;
	for (int i = 0; i < 65536; i++) {
		uint8_t code = cwe_e4m3_from_f32(cwe_f32_from_bf16((uint16_t)bits[i]));

		if (is_nan[i]) {
			assert_int_equal(code & 0x7f, 0x7f);
			continue;
		}
		assert_int_equal(code, codes[i] & 0xff);
		checked++;
	}
	assert_int_equal(checked, 65536 - 2 * 127);
	free(bits);
	free(codes);
	free(is_nan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_bf16)};
	const char *shared = getenv("CWP_SHARED");
	struct cwb_err err = {0};
	char *path;
	int rc;

	if (!shared)
		shared = "";
	path = path_join(shared, "golden/rounding.safetensors");
	rc = cwe_safetensors_open(path, &reference, &err);
	if (rc) {
		printf("skipped: no reference data: %s\n", err.message);
		free(path);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	cwe_safetensors_close(reference);
	free(path);
	return rc;
}
