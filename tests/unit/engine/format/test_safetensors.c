/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reader of safetensors: what is accepted, and that every lie of a header is refused with its reason. */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/safetensors.h"

static const uint8_t data[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};

static int open_blob(struct blob *b, struct cwe_safetensors **ret, struct cwb_err *err)
{
	int rc = cwe_safetensors_adopt(blob_fd(b), "test", ret, err);

	blob_free(b);
	return rc;
}

static void test_golden(void **state)
{
	struct blob b = {0};
	struct cwe_safetensors *s;
	const struct cwe_safetensors_entry *e;
	int32_t value[4] = {1, 1, 1, 1};

	(void)state;
	safetensors_build(&b, "{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(b.length, 84);
	assert_int_equal(b.data[0], 0x3c);
	assert_int_equal(open_blob(&b, &s, NULL), 0);
	e = cwe_safetensors_find(s, "test");
	assert_non_null(e);
	assert_int_equal(e->dtype, CWE_DTYPE_I32);
	assert_int_equal(e->rank, 2);
	assert_int_equal(e->offset, 68);
	assert_int_equal(cwe_safetensors_read(s, e, 0, value, 16, NULL), 0);
	assert_int_equal(value[0] | value[3], 0);
	assert_null(cwe_safetensors_find(s, "tes"));
	cwe_safetensors_close(s);
}

/* Whitespace around, metadata, scalars, empty tensors, unknown fields, sub-byte types, escapes in names. */
static void test_accepted(void **state)
{
	struct blob b = {0};
	struct cwe_safetensors *s;
	const struct cwe_safetensors_entry *e;
	struct cwb_err err = {0};
	uint8_t got[4];

	(void)state;
	safetensors_build(&b,
		" \n{\"__metadata__\":{\"format\":\"pt\"},"
		"\"b\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[2,6],\"x\":{\"y\":[1]}},"
		"\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
		"\"\\u00e9\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[2,2]},"
		"\"f4\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[6,9]}}\t\r ",
		data, 9);
	assert_int_equal(open_blob(&b, &s, &err), 0);
	assert_int_equal(s->count, 4);
	assert_string_equal(s->entries[0].name, "a");
	assert_string_equal(s->entries[3].name, "\xc3\xa9");
	assert_string_equal(cwe_safetensors_metadata(s, "format"), "pt");
	assert_null(cwe_safetensors_metadata(s, "other"));
	e = cwe_safetensors_find(s, "b");
	assert_int_equal(cwe_safetensors_read(s, e, 1, got, 3, &err), 0);
	assert_memory_equal(got, data + 3, 3);
	assert_refused(cwe_safetensors_read(s, e, 2, got, 3, &err), &err, CWP_EVALUE, "lie outside");
	cwb_err_clear(&err);
	assert_refused(cwe_safetensors_read(s, e, UINT64_MAX, got, 2, &err), &err, CWP_EVALUE, "lie outside");
	cwe_safetensors_close(s);
}

static void test_no_tensors(void **state)
{
	struct blob b = {0};
	struct cwe_safetensors *s;

	(void)state;
	safetensors_build(&b, "{}", NULL, 0);
	assert_int_equal(open_blob(&b, &s, NULL), 0);
	assert_int_equal(s->count, 0);
	assert_null(cwe_safetensors_find(s, "a"));
	cwe_safetensors_close(s);
}

#define A(rest) "{\"a\":{" rest "}}"
#define TWO(x, y)                                                                                  \
	"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" x "},"                          \
	"\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" y "}}"

static const struct {
	const char *header;
	size_t bytes;
	int code;
	const char *part;
} lies[] = {
	{"", 0, CWP_EFORMAT, "not valid JSON"},
	{"[]", 0, CWP_EFORMAT, "no object"},
	{"{", 0, CWP_EFORMAT, "not valid JSON"},
	{"{}x", 0, CWP_EFORMAT, "not valid JSON"},
	{"{\"a\":NaN}", 0, CWP_EFORMAT, "not valid JSON"},
	{"{\"\xff\":{}}", 0, CWP_EFORMAT, "unable to decode byte 0xff"},
	{"{\"a\":5}", 0, CWP_EFORMAT, "entry is no object"},
	{"{\"__metadata__\":[]}", 0, CWP_EFORMAT, "\"__metadata__\" is no object"},
	{"{\"__metadata__\":{\"format\":1}}", 0, CWP_EFORMAT, "\"format\" is no string"},
	{"{\"__metadata__\":{},\"__metadata__\":{}}", 0, CWP_EFORMAT, "duplicate"},
	{A(""), 0, CWP_EFORMAT, "\"dtype\" is absent"},
	{A("\"dtype\":\"F8_E4M3FN\",\"shape\":[4],\"data_offsets\":[0,4]"), 4, CWP_EUNKNOWN, "unknown dtype \"F8_E4M3FN\""},
	{A("\"dtype\":7,\"shape\":[4],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "\"dtype\" is absent or no string"},
	{A("\"dtype\":\"U8\",\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "\"shape\" is absent"},
	{A("\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "\"shape\" is absent or no array"},
	{A("\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "\"shape\" holds something else"},
	{A("\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "\"shape\" holds something else"},
	{A("\"dtype\":\"U8\",\"shape\":[4,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "9 dimensions"},
	{A("\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "too big integer"},
	{A("\"dtype\":\"U8\",\"shape\":[9223372036854775807,3],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "overflows"},
	{A("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, CWP_EFORMAT, "overflows"},
	{A("\"dtype\":\"U64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, CWP_EFORMAT, "overflows"},
	{A("\"dtype\":\"F6_E2M3\",\"shape\":[2],\"data_offsets\":[0,1]"), 1, CWP_EFORMAT, "whole number of bytes"},
	{A("\"dtype\":\"U8\",\"shape\":[4]"), 4, CWP_EFORMAT, "\"data_offsets\" is absent"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,8]"), 4, CWP_EFORMAT, "no pair"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]"), 4, CWP_EFORMAT, "\"data_offsets\" holds something else"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,\"4\"]"), 4, CWP_EFORMAT, "\"data_offsets\" holds something else"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]"), 4, CWP_EFORMAT, "ends before it begins"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,3]"), 3, CWP_EFORMAT, "make 4 bytes, data_offsets 3"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[9223372036854775803,9223372036854775807]"), 4, CWP_EFORMAT, "hole"},
	{A("\"dtype\":\"U8\",\"shape\":[9223372036854775807],\"data_offsets\":[0,9223372036854775807]"), 4, CWP_EFORMAT, "overflows"},
	{A("\"dtype\":\"U8\",\"shape\":[1152921504606846975],\"data_offsets\":[0,1152921504606846975]"), 4, CWP_EFORMAT, "cut off"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"shape\":[4],\"data_offsets\":[0,4]"), 4, CWP_EFORMAT, "duplicate"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"), 3, CWP_EFORMAT, "cut off"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"), 5, CWP_EFORMAT, "1 bytes follow the last tensor"},
	{A("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]"), 5, CWP_EFORMAT, "hole"},
	{TWO("[0,4]", "[4,8]"), 8, 0, NULL},
	{TWO("[4,8]", "[0,4]"), 8, 0, NULL},
	{TWO("[0,4]", "[5,9]"), 9, CWP_EFORMAT, "\"b\" begins at byte 5 of the data where 4 is due (hole)"},
	{TWO("[0,4]", "[3,7]"), 7, CWP_EFORMAT, "(overlap)"},
	{TWO("[0,4]", "[0,4]"), 4, CWP_EFORMAT, "(overlap)"},
	{"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
		8, CWP_EFORMAT, "duplicate object key"},
	{"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
		8, CWP_EFORMAT, "duplicate object key"},
	{"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", 0, CWP_ELIMIT, "levels"},
};

static void test_lies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		struct blob b = {0};
		struct cwe_safetensors *s = NULL;
		struct cwb_err err = {0};
		int rc;

		safetensors_build(&b, lies[i].header, data, lies[i].bytes);
		rc = open_blob(&b, &s, &err);
		if (lies[i].code)
			assert_refused(rc, &err, lies[i].code, lies[i].part);
		else
			assert_int_equal(rc, 0);
		cwe_safetensors_close(s);
	}
}

/* NUL bytes as padding of the header, which the reference refuses too. */
static void test_nul_padding(void **state)
{
	struct blob b = {0};
	struct cwe_safetensors *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	blob_u64(&b, 4);
	blob_add(&b, "{}\0\0", 4);
	assert_refused(open_blob(&b, &s, &err), &err, CWP_EFORMAT, "not valid JSON");
}

static void test_lengths(void **state)
{
	static const struct {
		uint64_t length;
		const char *part;
	} cases[] = {
		{3, "longer than the file"},
		{100000000, "longer than the file"},
		{100000001, "at most 100000000"},
		{1ull << 63, "at most 100000000"},
		{UINT64_MAX, "at most 100000000"},
		{UINT64_MAX - 7, "at most 100000000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blob b = {0};
		struct cwe_safetensors *s = NULL;
		struct cwb_err err = {0};

		blob_u64(&b, cases[i].length);
		blob_text(&b, "{}");
		assert_refused(open_blob(&b, &s, &err), &err, CWP_EFORMAT, cases[i].part);
	}
}

/* A whole file, cut at every length. */
static void test_truncated(void **state)
{
	struct blob whole = {0};

	(void)state;
	safetensors_build(&whole, TWO("[0,4]", "[4,8]"), data, 8);
	for (size_t n = 0; n < whole.length; n++) {
		struct blob b = {0};
		struct cwe_safetensors *s = NULL;
		struct cwb_err err = {0};

		blob_add(&b, whole.data, n);
		assert_refused(open_blob(&b, &s, &err), &err, CWP_EFORMAT, n < 8 ? "too short" : n < whole.length - 8 ? "longer than" : "cut off");
	}
	blob_free(&whole);
}

/* A file that shrinks while it is open gives an error when it is read. */
static void test_shrinks(void **state)
{
	struct blob b = {0};
	struct cwe_safetensors *s = NULL;
	struct cwb_err err = {0};
	uint8_t got[4];
	int fd;

	(void)state;
	safetensors_build(&b, TWO("[0,4]", "[4,8]"), data, 8);
	fd = blob_fd(&b);
	assert_int_equal(cwe_safetensors_adopt(fd, "test", &s, NULL), 0);
	assert_int_equal(ftruncate(fd, (off_t)b.length - 4), 0);
	assert_int_equal(cwe_safetensors_read(s, cwe_safetensors_find(s, "a"), 0, got, 4, &err), 0);
	assert_int_equal(cwe_safetensors_read(s, cwe_safetensors_find(s, "b"), 0, got, 4, &err), CWP_EFORMAT);
	assert_int_equal(err.code, CWP_EFORMAT);
	cwe_safetensors_close(s);
	blob_free(&b);
}

static void test_no_file(void **state)
{
	char *folder = folder_make(), *fifo = path_join(folder, "fifo"), *none = path_join(folder, "none");
	struct cwe_safetensors *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_refused(cwe_safetensors_open(none, &s, &err), &err, -ENOENT, "cannot be opened");
	cwb_err_clear(&err);
	assert_refused(cwe_safetensors_open(folder, &s, &err), &err, CWP_EFORMAT, "not a regular file");
	cwb_err_clear(&err);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_refused(cwe_safetensors_open(fifo, &s, &err), &err, CWP_EFORMAT, "not a regular file");
	free(fifo);
	free(none);
	folder_remove(folder);
	cwe_safetensors_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_no_tensors),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_nul_padding),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_shrinks),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
