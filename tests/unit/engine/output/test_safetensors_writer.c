/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Safetensors files, written: layout, bounds, going on with an unfinished file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/safetensors_writer.h"
#include "tests/unit/engine/output/toy.h"

struct world {
	char *folder;
	int fd;
};

static void begin(struct world *x)
{
	x->folder = toy_folder();
	x->fd = open(x->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(x->fd >= 0);
}

static void end(struct world *x)
{
	close(x->fd);
	toy_remove(x->folder);
	free(x->folder);
}

static const struct cwe_safetensors_plan plan[] = {
	{"b", CWE_DTYPE_U8, 1, {3}},
	{"a", CWE_DTYPE_U8, 1, {2}},
	{"empty", CWE_DTYPE_F32, 2, {0, 7}},
	{"wide", CWE_DTYPE_I64, 1, {1}},
	{"scalar", CWE_DTYPE_BF16, 0, {0}},
};

/* Falling alignment, then names; metadata first; a header of whole words. */
static void test_bytes(void **state)
{
	static const char expected[] = "\x48\1\0\0\0\0\0\0"
				       "{\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"},"
				       "\"wide\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
				       "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]},"
				       "\"scalar\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
				       "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[10,12]},"
				       "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[12,15]}}      "
				       "WWWWWWWWSSaabbb";
	static const char *const data[] = {"bbb", "aa", "", "WWWWWWWW", "SS"};
	struct cwe_safetensors_text text = {"k", "v"};
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	struct world x;
	char *got;
	size_t length, i;

	(void)state;
	begin(&x);
	assert_int_equal(cwe_safetensors_writer_new(x.fd, "t", 0, plan, 5, &text, 1, &w, NULL, &err), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(cwe_safetensors_writer_write(w, i, 0, data[i], strlen(data[i]), &err), 0);
	assert_int_equal(faccessat(x.fd, "t", F_OK, 0), -1); /* not before it is whole */
	assert_int_equal(cwe_safetensors_writer_publish(w, &err), 0);
	got = toy_read(x.folder, "t", &length);
	assert_int_equal(length, sizeof expected - 1);
	assert_int_equal(length, cwe_safetensors_writer_size(w));
	assert_memory_equal(got, expected, length);
	cwe_safetensors_writer_free(w);
	free(got);
	end(&x);
}

static void test_bounds(void **state)
{
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	struct world x;

	(void)state;
	begin(&x);
	assert_int_equal(cwe_safetensors_writer_new(x.fd, "t", 0, plan, 5, NULL, 0, &w, NULL, &err), 0);
	assert_int_equal(cwe_safetensors_writer_write(w, 0, 0, "bbbb", 4, &err), CWP_EVALUE);
	assert_int_equal(cwe_safetensors_writer_write(w, 0, 4, "", 0, &err), CWP_EVALUE);
	assert_int_equal(cwe_safetensors_writer_write(w, 0, UINT64_MAX, "b", 1, &err), CWP_EVALUE);
	assert_int_equal(cwe_safetensors_writer_write(w, 5, 0, "", 0, &err), CWP_EVALUE);
	cwe_safetensors_writer_discard(w);
	cwe_safetensors_writer_free(w);
	assert_int_equal(faccessat(x.fd, ".t.tmp-partial", F_OK, 0), -1);
	end(&x);
}

static void refuse(const struct cwe_safetensors_plan *p, size_t n, int code)
{
	struct cwe_safetensors_writer *w = NULL;
	struct cwb_err err = {0};
	struct world x;

	begin(&x);
	assert_int_equal(cwe_safetensors_writer_new(x.fd, "t", 0, p, n, NULL, 0, &w, NULL, &err), code);
	assert_null(w);
	assert_int_equal(faccessat(x.fd, ".t.tmp-partial", F_OK, 0), -1);
	end(&x);
}

static void test_refused_plans(void **state)
{
	const struct cwe_safetensors_plan twice[] = {{"a", CWE_DTYPE_U8, 1, {1}}, {"a", CWE_DTYPE_I8, 1, {1}}};
	const struct cwe_safetensors_plan overflow[] = {{"a", CWE_DTYPE_F32, 2, {UINT64_MAX, 2}}};
	const struct cwe_safetensors_plan huge[] = {{"a", CWE_DTYPE_U8, 1, {INT64_MAX / 2}}, {"b", CWE_DTYPE_U8, 1, {8}}};
	const struct cwe_safetensors_plan reserved[] = {{"__metadata__", CWE_DTYPE_U8, 1, {1}}};

	(void)state;
	refuse(twice, 2, CWP_EVALUE);
	refuse(overflow, 1, CWP_ESHAPE);
	refuse(huge, 2, CWP_ESHAPE);
	refuse(reserved, 1, CWP_EVALUE);
}

/* The data of an unfinished file stays when the plan is the same, and only then. */
static void test_resume(void **state)
{
	struct cwe_safetensors_plan other[5];
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	struct world x;
	char *got;
	size_t length, pass;
	int kept;

	(void)state;
	memcpy(other, plan, sizeof other);
	other[0].name = "c";
	for (pass = 0; pass < 4; pass++) {
		unsigned flags = pass == 1 ? 0 : CWE_SAFETENSORS_RESUME;

		begin(&x);
		assert_int_equal(cwe_safetensors_writer_new(x.fd, "t", CWE_SAFETENSORS_RESUME, plan, 5, NULL, 0, &w, &kept, &err), 0);
		assert_int_equal(kept, 0);
		assert_int_equal(cwe_safetensors_writer_write(w, 0, 0, "bbb", 3, &err), 0);
		cwe_safetensors_writer_free(w);
		if (pass == 3) {
			char *path = toy_path(x.folder, ".t.tmp-partial");

			assert_int_equal(truncate(path, 100), 0);
			free(path);
		}
		assert_int_equal(
			cwe_safetensors_writer_new(x.fd, "t", flags, pass == 2 ? other : plan, 5, NULL, 0, &w, &kept, &err), 0);
		assert_int_equal(kept, pass == 0);
		assert_int_equal(cwe_safetensors_writer_publish(w, &err), 0);
		cwe_safetensors_writer_free(w);
		got = toy_read(x.folder, "t", &length);
		assert_memory_equal(got + length - 3, pass ? "\0\0\0" : "bbb", 3);
		free(got);
		end(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_refused_plans),
		cmocka_unit_test(test_resume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
