/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reader of GGUF: every lie of a header is refused with its reason; metadata by type. */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/gguf.h"

static const uint8_t data[256] = {1, 2, 3};

static int open_blob(struct blob *b, struct cwe_gguf **ret, struct cwb_err *err)
{
	int rc = cwe_gguf_adopt(blob_fd(b), "test", ret, err);

	blob_free(b);
	return rc;
}

static int open_build(struct gguf_build *g, struct cwe_gguf **ret, struct cwb_err *err)
{
	struct blob b = {0};

	gguf_finish(g, &b);
	gguf_free(g);
	return open_blob(&b, ret, err);
}

static void test_metadata(void **state)
{
	static const char *const words[] = {"a", "", "longer than both"};
	struct gguf_build build = {0};
	struct cwe_gguf *g;
	const struct cwe_gguf_value *v;
	struct cwb_err err = {0};
	const char *text = NULL;
	uint64_t n = 7;
	float x = 0;
	int b = 0;

	(void)state;
	gguf_u32(&build, "u32", 4000000000u);
	gguf_f32(&build, "f32", 0.5f);
	gguf_bool(&build, "bool", 1);
	gguf_text(&build, "text", "words");
	gguf_strings(&build, "words", words, 3);
	gguf_strings(&build, "none", words, 0);
	gguf_i32s(&build, "i32s", (const int32_t[]){-1, 5}, 2);
	gguf_key(&build, "i8", 1);
	blob_add(&build.values, "\xff", 1);
	gguf_key(&build, "f64", 12);
	blob_add(&build.values, &(double){0.25}, 8);
	gguf_f32(&build, "infinite", 1e38f * 10);
	gguf_key(&build, "nul", 8);
	blob_u64(&build.values, 3);
	blob_add(&build.values, "a\0b", 3);
	assert_int_equal(open_build(&build, &g, &err), 0);
	assert_int_equal(g->count, 0);
	assert_int_equal(cwe_gguf_get_u64(g, "u32", 0, UINT64_MAX, &n, &err), 1);
	assert_int_equal(n, 4000000000u);
	assert_int_equal(cwe_gguf_get_u64(g, "absent", 0, 1, &n, &err), 0);
	assert_int_equal(n, 4000000000u);
	assert_int_equal(cwe_gguf_get_f32(g, "f32", &x, &err), 1);
	assert_true(x == 0.5f);
	assert_int_equal(cwe_gguf_get_f32(g, "f64", &x, &err), 1);
	assert_true(x == 0.25f);
	assert_int_equal(cwe_gguf_get_bool(g, "bool", &b, &err), 1);
	assert_int_equal(b, 1);
	assert_int_equal(cwe_gguf_get_string(g, "text", &text, &err), 1);
	assert_string_equal(text, "words");
	assert_int_equal(cwe_gguf_get_array(g, "words", CWE_GGUF_STRING, &v, &err), 1);
	assert_int_equal(v->count, 3);
	assert_string_equal((char *)v->data + v->starts[1], "");
	assert_string_equal((char *)v->data + v->starts[2], words[2]);
	assert_int_equal(cwe_gguf_get_array(g, "none", CWE_GGUF_STRING, &v, &err), 1);
	assert_int_equal(v->count, 0);
	assert_refused(cwe_gguf_get_u64(g, "u32", 0, 10, &n, &err), &err, CWP_EVALUE, "4000000000 is outside 0..10");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_u64(g, "i8", 0, 10, &n, &err), &err, CWP_EVALUE, "i8: needs an integer from 0 on");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_u64(g, "i32s", 0, 10, &n, &err), &err, CWP_EVALUE, "found an array of i32");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_f32(g, "infinite", &x, &err), &err, CWP_EVALUE, "not a finite number");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_f32(g, "u32", &x, &err), &err, CWP_EVALUE, "needs f32, found u32");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_bool(g, "u32", &b, &err), &err, CWP_EVALUE, "needs a truth value");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_string(g, "nul", &text, &err), &err, CWP_EVALUE, "holds a NUL byte");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_string(g, "words", &text, &err), &err, CWP_EVALUE, "needs a string");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_get_array(g, "words", CWE_GGUF_I32, &v, &err), &err, CWP_EVALUE, "needs an array of i32");
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_need_u64(g, "absent", 1, &n, &err), &err, CWP_EMISSING, "key absent is absent");
	cwe_gguf_close(g);
}

/* magic, version, tensors, keys and nothing more. */
static void head(struct blob *b, const char *magic, uint32_t version, uint64_t tensors, uint64_t values)
{
	blob_text(b, magic);
	blob_u32(b, version);
	blob_u64(b, tensors);
	blob_u64(b, values);
}

static void test_heads(void **state)
{
	static const struct {
		const char *magic;
		uint32_t version;
		uint64_t tensors, values;
		int code;
		const char *part;
	} cases[] = {
		{"GGUF", 3, 0, 0, 0, NULL},
		{"GGML", 3, 0, 0, CWP_EFORMAT, "does not begin with GGUF"},
		{"GGUF", 1, 0, 0, CWP_EFORMAT, "GGUF version 1; version 3 is read"},
		{"GGUF", 4, 0, 0, CWP_EFORMAT, "GGUF version 4"},
		{"GGUF", 0x03000000, 0, 0, CWP_EFORMAT, "big-endian"},
		{"GGUF", 3, 1, 0, CWP_EFORMAT, "1 tensors do not fit"},
		{"GGUF", 3, 1ull << 63, 0, CWP_EFORMAT, "tensors do not fit"},
		{"GGUF", 3, UINT64_MAX, 0, CWP_EFORMAT, "tensors do not fit"},
		{"GGUF", 3, 0, 2, CWP_EFORMAT, "2 keys do not fit"},
		{"GGUF", 3, 0, 1ull << 63, CWP_EFORMAT, "keys do not fit"},
		{"GGUF", 3, 0, UINT64_MAX, CWP_EFORMAT, "keys do not fit"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blob b = {0};
		struct cwe_gguf *g = NULL;
		struct cwb_err err = {0};
		int rc;

		head(&b, cases[i].magic, cases[i].version, cases[i].tensors, cases[i].values);
		rc = open_blob(&b, &g, &err);
		if (cases[i].code)
			assert_refused(rc, &err, cases[i].code, cases[i].part);
		else
			assert_int_equal(rc, 0);
		cwe_gguf_close(g);
	}
}

/* One key whose bytes are given; what follows is room, so that only the lie itself is refused. */
static void refuse_key(const struct blob *key, int code, const char *part)
{
	struct blob b = {0};
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};

	head(&b, "GGUF", 3, 0, 1);
	blob_add(&b, key->data, key->length);
	blob_add(&b, data, sizeof data);
	assert_refused(open_blob(&b, &g, &err), &err, code, part);
}

static void test_keys(void **state)
{
	static const struct {
		uint64_t length;
		const char *part;
	} lengths[] = {{0, "has 0 bytes"}, {1ull << 63, "longer than the file"}, {UINT64_MAX, "longer than the file"}, {400, "longer than the file"}};
	static const struct {
		uint32_t kind, element;
		uint64_t count;
		int code;
		const char *part;
	} values[] = {
		{13, 0, 0, CWP_EUNKNOWN, "key: unknown kind of value 13"},
		{0xffffffff, 0, 0, CWP_EUNKNOWN, "unknown kind"},
		{9, 13, 1, CWP_EUNKNOWN, "unknown kind of value 13"},
		{9, 9, 1, CWP_EUNKNOWN, "an array of arrays"},
		{9, 4, 1ull << 62, CWP_EFORMAT, "elements are longer than the file"},
		{9, 4, 1ull << 63, CWP_EFORMAT, "elements are longer than the file"},
		{9, 0, UINT64_MAX, CWP_EFORMAT, "elements are longer than the file"},
		{9, 10, 1000, CWP_EFORMAT, "1000 elements are longer than the file"},
		{9, 8, 1ull << 63, CWP_EFORMAT, "strings are longer than the file"},
		{9, 8, 100, CWP_EFORMAT, "strings are longer than the file"},
		{8, 0xffffffff, 1ull << 63, CWP_EFORMAT, "key: a string of"},
		{7, 2, 0, CWP_EFORMAT, "a truth value of 2"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct blob key = {0};

		blob_u64(&key, lengths[i].length);
		refuse_key(&key, CWP_EFORMAT, lengths[i].part);
		blob_free(&key);
	}
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct blob key = {0};

		blob_string(&key, "key");
		blob_u32(&key, values[i].kind);
		blob_u32(&key, values[i].element);
		blob_u64(&key, values[i].count);
		refuse_key(&key, values[i].code, values[i].part);
		blob_free(&key);
	}
}

static void test_twice(void **state)
{
	struct gguf_build build = {0};
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};

	(void)state;
	gguf_u32(&build, "a", 1);
	gguf_u32(&build, "b", 1);
	gguf_u32(&build, "a", 1);
	assert_refused(open_build(&build, &g, &err), &err, CWP_EFORMAT, "key \"a\" comes twice");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_tensor(&build, "t", 0, 4, 0, data, 16);
	gguf_tensor(&build, "t", 0, 4, 0, data, 16);
	assert_refused(open_build(&build, &g, &err), &err, CWP_EFORMAT, "tensor \"t\" comes twice");
}

static void test_nul_in_names(void **state)
{
	struct blob key = {0};

	(void)state;
	blob_u64(&key, 3);
	blob_add(&key, "a\0b", 3);
	refuse_key(&key, CWP_EFORMAT, "holds a NUL byte");
	blob_free(&key);
}

static const struct {
	uint32_t rank;
	uint64_t dims[4];
	uint32_t type;
	uint64_t offset;
	int code;
	const char *part;
} tensors[] = {
	{2, {32, 2}, 0, 0, 0, NULL},
	{2, {32, 2}, 8, 32, 0, NULL},
	{0, {0}, 0, 0, CWP_EFORMAT, "has 0 dimensions"},
	{5, {1, 1, 1, 1}, 0, 0, CWP_EFORMAT, "has 5 dimensions"},
	{0x80000000, {0}, 0, 0, CWP_EFORMAT, "dimensions"},
	{1, {0}, 0, 0, CWP_EFORMAT, "a dimension of 0"},
	{1, {1ull << 63}, 0, 0, CWP_EFORMAT, "a dimension of 9223372036854775808"},
	{1, {UINT64_MAX}, 0, 0, CWP_EFORMAT, "a dimension of"},
	{1, {32}, 4, 0, CWP_EUNKNOWN, "unknown type 4"},
	{1, {32}, 99, 0, CWP_EUNKNOWN, "unknown type 99"},
	{1, {32}, 0xffffffff, 0, CWP_EUNKNOWN, "unknown type"},
	{2, {33, 2}, 8, 0, CWP_EFORMAT, "rows of 33 elements are no whole number of Q8_0 blocks of 32"},
	{2, {128, 2}, 14, 0, CWP_EFORMAT, "no whole number of Q6_K blocks of 256"},
	{4, {1ull << 32, 1ull << 32, 1, 1}, 0, 0, CWP_EFORMAT, "overflows"},
	{3, {1ull << 21, 1ull << 21, 1ull << 21}, 0, 0, CWP_EFORMAT, "overflows"},
	{1, {1ull << 62}, 0, 0, CWP_EFORMAT, "overflows"},
	{1, {1ull << 61}, 0, 0, CWP_EFORMAT, "beyond the end"},
	{1, {4}, 0, 16, CWP_EFORMAT, "offset 16 is no multiple of 32"},
	{1, {4}, 0, 256, CWP_EFORMAT, "beyond the end"},
	{1, {4}, 0, 1ull << 63, CWP_EFORMAT, "beyond the end"},
	{1, {4}, 0, UINT64_MAX - 31, CWP_EFORMAT, "beyond the end"},
	{1, {65}, 0, 0, CWP_EFORMAT, "260 bytes at 0 of the data go beyond the end"},
};

static void test_tensors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
		struct gguf_build build = {0};
		struct cwe_gguf *g = NULL;
		struct cwb_err err = {0};
		uint64_t dims[4];
		int rc;

		memcpy(dims, tensors[i].dims, sizeof dims);
		blob_string(&build.infos, "t");
		blob_u32(&build.infos, tensors[i].rank);
		blob_add(&build.infos, dims, (tensors[i].rank <= 4 ? tensors[i].rank : 4) * 8);
		blob_u32(&build.infos, tensors[i].type);
		blob_u64(&build.infos, tensors[i].offset);
		build.tensors_count = 1;
		blob_add(&build.data, data, 256);
		rc = open_build(&build, &g, &err);
		if (tensors[i].code)
			assert_refused(rc, &err, tensors[i].code, tensors[i].part);
		else
			assert_int_equal(rc, 0);
		cwe_gguf_close(g);
	}
}

static void test_overlap(void **state)
{
	struct gguf_build build = {0};
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};
	uint64_t dims = 16;

	(void)state;
	gguf_tensor(&build, "a", 0, 16, 0, data, 64);
	gguf_info(&build, "b", 1, &dims, 0, 32);
	blob_add(&build.data, data, 64);
	assert_refused(open_build(&build, &g, &err), &err, CWP_EFORMAT, "tensor \"b\" overlaps \"a\"");

	cwb_err_clear(&err); /* the same data twice */
	build = (struct gguf_build){0};
	gguf_tensor(&build, "a", 0, 16, 0, data, 64);
	gguf_info(&build, "b", 1, &dims, 0, 0);
	assert_refused(open_build(&build, &g, &err), &err, CWP_EFORMAT, "overlaps");
}

static void test_alignment(void **state)
{
	static const struct {
		uint32_t alignment;
		int code;
		const char *part;
	} cases[] = {
		{64, 0, NULL},
		{1, 0, NULL},
		{0, CWP_EVALUE, "general.alignment: 0 is outside"},
		{48, CWP_EFORMAT, "48 is no power of two"},
		{1u << 30, CWP_EVALUE, "is outside"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gguf_build build = {.alignment = cases[i].code ? 0 : cases[i].alignment};
		struct cwe_gguf *g = NULL;
		struct cwb_err err = {0};
		int rc;

		gguf_u32(&build, "general.alignment", cases[i].alignment);
		gguf_tensor(&build, "a", 0, 1, 0, "abcd", 4);
		gguf_tensor(&build, "b", 0, 2, 0, "efghijkl", 8);
		rc = open_build(&build, &g, &err);
		if (cases[i].code) {
			assert_refused(rc, &err, cases[i].code, cases[i].part);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(g->tensors[1].offset - g->tensors[0].offset, cases[i].alignment == 1 ? 4 : 64);
		assert_int_equal(g->tensors[0].offset % cases[i].alignment, 0);
		cwe_gguf_close(g);
	}
}

/* A whole file, cut at every length. */
static void test_truncated(void **state)
{
	static const char *const words[] = {"some", "words"};
	struct gguf_build build = {0};
	struct blob whole = {0};

	(void)state;
	gguf_u32(&build, "n", 1);
	gguf_strings(&build, "words", words, 2);
	gguf_tensor(&build, "a", 0, 3, 0, data, 12);
	gguf_tensor(&build, "b", 0, 3, 2, data, 24);
	gguf_finish(&build, &whole);
	gguf_free(&build);
	for (size_t n = 0; n < whole.length; n++) {
		struct blob b = {0};
		struct cwe_gguf *g = NULL;
		struct cwb_err err = {0};

		blob_add(&b, whole.data, n);
		assert_int_equal(open_blob(&b, &g, &err), CWP_EFORMAT);
		assert_true(strlen(err.message) > 10);
		assert_null(g);
	}
	blob_free(&whole);
}

/* A sparse file that says it holds more metadata than memory may be taken for. */
static void test_metadata_limit(void **state)
{
	struct blob b = {0};
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};
	int fd;

	(void)state;
	head(&b, "GGUF", 3, 0, 1);
	blob_string(&b, "key");
	blob_u32(&b, 9);
	blob_u32(&b, 0);
	blob_u64(&b, 3ull << 30);
	fd = blob_fd(&b);
	blob_free(&b);
	assert_int_equal(ftruncate(fd, 4ll << 30), 0);
	assert_refused(cwe_gguf_adopt(fd, "test", &g, &err), &err, CWP_ELIMIT, "more than 512 MiB");
}

static void test_close_null(void **state)
{
	(void)state;
	cwe_gguf_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_nul_in_names),
		cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_metadata_limit),
		cmocka_unit_test(test_close_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
