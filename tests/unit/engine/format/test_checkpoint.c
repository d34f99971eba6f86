/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Directories of safetensors files: single, sharded, and indexes that lie. */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/checkpoint.h"

#define INDEX "model.safetensors.index.json"
#define MAP(map) "{\"metadata\":{\"total_size\":1},\"weight_map\":" map "}"

/* w: BF16 [3, 2] = 1, 2, ... 6; h: F16 [2] = 0.5, -2; */
static void write_first(const char *folder, const char *name)
{
	static const uint16_t data[8] = {0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x3800, 0xc000};
	struct blob b = {0};

	safetensors_build(&b,
		"{\"w\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[0,12]},"
		"\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[12,16]}}",
		data, sizeof data);
	folder_write(folder, name, &b);
	blob_free(&b);
}

/* f: F32 [2, 2]; n: I64 []; v: F32 of five dimensions */
static void write_second(const char *folder, const char *name)
{
	static const float data[8] = {0.25f, -0.25f, 3, 4};
	struct blob b = {0};

	safetensors_build(&b,
		"{\"f\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
		"\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]},"
		"\"v\":{\"dtype\":\"F32\",\"shape\":[1,1,2,1,1],\"data_offsets\":[24,32]}}",
		data, sizeof data);
	folder_write(folder, name, &b);
	blob_free(&b);
}

static void test_single(void **state)
{
	char *folder = folder_make();
	struct cwe_weights *w;
	const struct cwe_tensor *t;
	struct cwb_err err = {0};
	float x[6] = {0};
	uint16_t raw[2];

	(void)state;
	write_first(folder, "model.safetensors");
	folder_text(folder, INDEX, "an index beside it is not looked at");
	assert_int_equal(cwe_weights_open(folder, &w, &err), 0);
	assert_int_equal(w->count, 2);
	assert_string_equal(w->tensors[0].name, "h");
	t = cwe_weights_find(w, "w");
	assert_int_equal(t->dtype, CWP_BF16);
	assert_int_equal(t->rank, 2);
	assert_int_equal(cwe_weights_read_f32(w, t, 1, 2, x, &err), 0);
	assert_true(x[0] == 3 && x[1] == 4 && x[2] == 5 && x[3] == 6 && x[4] == 0);
	assert_int_equal(cwe_weights_read_raw(w, t, 2, 1, raw, &err), 0);
	assert_int_equal(raw[0], 0x40a0);
	t = cwe_weights_find(w, "h");
	assert_int_equal(t->dtype, CWP_F16);
	assert_int_equal(cwe_weights_read_f32(w, t, 0, 2, x, &err), 0);
	assert_true(x[0] == 0.5f && x[1] == -2);
	assert_int_equal(cwe_weights_read_f32(w, t, 2, 0, x, &err), 0);
	assert_refused(cwe_weights_read_f32(w, t, 1, 2, x, &err), &err, CWP_EVALUE, "lie outside its 2");
	cwb_err_clear(&err);
	assert_refused(cwe_weights_read_raw(w, t, UINT64_MAX, 2, x, &err), &err, CWP_EVALUE, "lie outside its 2");
	assert_null(cwe_weights_find(w, "x"));
	cwe_weights_close(w);
	folder_remove(folder);
}

/* What an index does not name is left out; other dtypes are seen by the checkpoint, not by the weights. */
static void test_sharded(void **state)
{
	char *folder = folder_make();
	struct cwe_checkpoint *c;
	struct cwe_weights *w;
	struct cwb_err err = {0};
	float x[4];
	int64_t n = -1;

	(void)state;
	write_first(folder, "a.safetensors");
	write_second(folder, "b.safetensors");
	folder_text(folder, INDEX, MAP("{\"w\":\"a.safetensors\",\"f\":\"b.safetensors\",\"n\":\"b.safetensors\",\"v\":\"b.safetensors\"}"));
	assert_int_equal(cwe_checkpoint_open(folder, &c, &err), 0);
	assert_int_equal(c->count, 4);
	assert_int_equal(c->files, 2);
	assert_null(cwe_checkpoint_find(c, "h"));
	assert_int_equal(cwe_checkpoint_find(c, "n")->entry->dtype, CWE_DTYPE_I64);
	assert_int_equal(cwe_checkpoint_read(cwe_checkpoint_find(c, "n"), 0, &n, 8, &err), 0);
	assert_int_equal(n, 0);
	cwe_checkpoint_close(c);
	assert_int_equal(cwe_weights_open(folder, &w, &err), 0);
	assert_int_equal(w->count, 2);
	assert_null(cwe_weights_find(w, "n"));
	assert_int_equal(cwe_weights_read_f32(w, cwe_weights_find(w, "f"), 1, 1, x, &err), 0);
	assert_true(x[0] == 3 && x[1] == 4);
	cwe_weights_close(w);
	folder_remove(folder);
}

static const struct {
	const char *index;
	int code;
	const char *part;
} lies[] = {
	{"{", CWP_EFORMAT, "not valid JSON"},
	{"[]", CWP_EFORMAT, "\"weight_map\" is absent"},
	{"{}", CWP_EFORMAT, "\"weight_map\" is absent"},
	{MAP("[]"), CWP_EFORMAT, "\"weight_map\" is absent or no object"},
	{MAP("{\"w\":1}"), CWP_EFORMAT, "\"w\" maps to something else"},
	{MAP("{\"w\":\"../a.safetensors\"}"), CWP_EFORMAT, "only plain file names"},
	{MAP("{\"w\":\"..\"}"), CWP_EFORMAT, "only plain file names"},
	{MAP("{\"w\":\"/etc/passwd\"}"), CWP_EFORMAT, "only plain file names"},
	{MAP("{\"w\":\"sub/a.safetensors\"}"), CWP_EFORMAT, "only plain file names"},
	{MAP("{\"w\":\"\"}"), CWP_EFORMAT, "only plain file names"},
	{MAP("{\"w\":\"a.safetensors\",\"w\":\"b.safetensors\"}"), CWP_EFORMAT, "duplicate"},
	{MAP("{\"w\":\"missing.safetensors\"}"), -ENOENT, "missing.safetensors"},
	{MAP("{\"w\":\"a.safetensors\",\"ghost\":\"a.safetensors\"}"), CWP_EFORMAT, "\"ghost\" is not in \"a.safetensors\""},
	{MAP("{\"w\":\"a.safetensors\",\"f\":\"a.safetensors\",\"n\":\"b.safetensors\"}"), CWP_EFORMAT, "\"f\" is not in \"a.safetensors\""},
	{MAP("{\"w\":\"a.safetensors\",\"h\":\"a2.safetensors\"}"), CWP_EFORMAT, "is in"},
	{MAP("{\"w\":\"not.safetensors\"}"), CWP_EFORMAT, "not.safetensors"},
};

static void test_lies(void **state)
{
	char *folder = folder_make();

	(void)state;
	write_first(folder, "a.safetensors");
	write_first(folder, "a2.safetensors");
	write_second(folder, "b.safetensors");
	folder_text(folder, "not.safetensors", "not a safetensors file at all");
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		struct cwe_checkpoint *c = NULL;
		struct cwb_err err = {0};

		folder_text(folder, INDEX, lies[i].index);
		assert_refused(cwe_checkpoint_open(folder, &c, &err), &err, lies[i].code, lies[i].part);
		assert_null(c);
	}
	folder_remove(folder);
}

static void test_nothing(void **state)
{
	char *folder = folder_make(), *none = path_join(folder, "none");
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_refused(cwe_weights_open(folder, &w, &err), &err, CWP_EMISSING, "neither model.safetensors nor");
	cwb_err_clear(&err);
	assert_refused(cwe_weights_open(none, &w, &err), &err, -ENOENT, "cannot be opened");
	free(none);
	folder_remove(folder);
}

static void test_quantized(void **state)
{
	char *folder = folder_make();
	struct blob b = {0};
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};

	(void)state;
	safetensors_build(&b, "{\"x.weight\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "ab", 2);
	folder_write(folder, "model.safetensors", &b);
	assert_refused(cwe_weights_open(folder, &w, &err), &err, CWP_EUNKNOWN, "\"x.weight\" has dtype I8");
	blob_free(&b);
	folder_remove(folder);
}

/* More than one piece is converted at a time. */
static void test_long_rows(void **state)
{
	char *folder = folder_make();
	size_t n = 40000;
	uint16_t *data = malloc(n * 2);
	float *x = malloc(n * 4);
	struct blob b = {0};
	struct cwe_weights *w;
	struct cwb_err err = {0};

	(void)state;
	for (size_t i = 0; i < n; i++)
		data[i] = (uint16_t)(i % 0x7f00);
	safetensors_build(&b, "{\"x\":{\"dtype\":\"BF16\",\"shape\":[2,20000],\"data_offsets\":[0,80000]}}", data, n * 2);
	folder_write(folder, "model.safetensors", &b);
	assert_int_equal(cwe_weights_open(folder, &w, &err), 0);
	assert_int_equal(cwe_weights_read_f32(w, w->tensors, 0, 2, x, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_true(x[i] == cwe_f32_from_bf16(data[i]));
	cwe_weights_close(w);
	free(data);
	free(x);
	blob_free(&b);
	folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_sharded),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_quantized),
		cmocka_unit_test(test_long_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
