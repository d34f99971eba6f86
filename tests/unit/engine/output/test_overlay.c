/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The overlay: its bytes as doc/overlay.md has them, both kinds, and damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "tests/unit/engine/output/toy.h"

static void set(uint8_t *mask, uint64_t stride, uint64_t r, uint64_t c)
{
	mask[r * stride + c / 8] |= (uint8_t)(1 << c % 8);
}

static void test_gaps(void **state)
{
	uint8_t mask[128] = {0}, gaps[1024];
	uint64_t escapes;

	(void)state;
	assert_int_equal(cwe_overlay_gaps_row(mask, 1024, gaps, &escapes), 0);
	assert_int_equal(escapes, 0);
	set(mask, 128, 0, 0);
	set(mask, 128, 0, 1);
	set(mask, 128, 0, 256);  /* 254 between */
	set(mask, 128, 0, 512);  /* 255 between: an escape and 0 */
	set(mask, 128, 0, 1023); /* 510 between: two escapes and 0 */
	assert_int_equal(cwe_overlay_gaps_row(mask, 1024, gaps, &escapes), 8);
	assert_int_equal(escapes, 3);
	assert_memory_equal(gaps, "\x00\x00\xfe\xff\x00\xff\xff\x00", 8);
	assert_int_equal(cwe_overlay_count_row(mask, 1024), 5);
	assert_int_equal(cwe_overlay_count_row(mask, 512), 3);
	assert_int_equal(cwe_overlay_count_row(mask, 513), 4); /* bits behind the width do not count */
}

static void test_choice(void **state)
{
	uint8_t mask[64 * 32];
	struct cwe_overlay_plan p;
	struct cwb_err err = {0};

	(void)state;
	memset(mask, 0, sizeof mask);
	set(mask, 32, 5, 9);
	assert_int_equal(cwe_overlay_measure(mask, 32, 64, 256, 2, &p, &err), 0);
	assert_int_equal(p.kind, CWE_OVERLAY_ROWS);
	assert_int_equal(p.values, 1);
	assert_int_equal(p.bytes, 65 * 4 + 1 + 2);
	memset(mask, 0xff, sizeof mask);
	assert_int_equal(cwe_overlay_measure(mask, 32, 64, 256, 2, &p, &err), 0);
	assert_int_equal(p.kind, CWE_OVERLAY_BITMAP);
	assert_int_equal(p.values, 64 * 256);
	assert_int_equal(p.bytes, 65 * 4 + 64 * 32 + 64 * 256 * 2);
	assert_int_equal(cwe_overlay_measure(mask, 0, 1u << 20, 1u << 12, 2, &p, &err), CWP_ELIMIT);
}

/* The result of opening, and of decoding "m" as [3, 300] rows at once and one by one; *dst is filled when all is well. */
static int try_parts(const char *version, const struct toy_part *part, size_t n, float *dst)
{
	const struct cwe_safetensors_text text = {CWE_OVERLAY_KEY, version};
	char *folder = toy_folder();
	struct cwe_overlay *o = NULL;
	const struct cwe_overlay_module *m;
	struct cwb_err err = {0};
	float one[300];
	int rc, checked;
	uint64_t r;

	toy_put_parts(folder, CWE_OVERLAY_FILE, &text, part, n);
	rc = cwe_overlay_open(folder, &o, &err);
	if (!rc) {
		m = cwe_overlay_find(o, "m");
		assert_non_null(m);
		assert_null(cwe_overlay_find(o, "n"));
		checked = cwe_overlay_check(m, 3, 300, &err);
		rc = cwe_overlay_apply(m, 3, 300, 0, 3, dst, &err);
		assert_int_equal(checked, rc);
		for (r = 0; r < 3 && !rc; r++) {
			memset(one, 0, sizeof one);
			assert_int_equal(cwe_overlay_apply(m, 3, 300, r, 1, one, &err), 0);
			assert_memory_equal(one, dst + r * 300, sizeof one);
		}
	}
	if (rc)
		assert_true(strlen(err.message) > 10);
	cwe_overlay_close(o);
	toy_remove(folder);
	free(folder);
	return rc;
}

/* Row 0: columns 2 and 299 (an escape between); row 1: none; row 2: column 0. */
static const uint32_t starts[4] = {0, 3, 3, 4}, escaped[4] = {0, 1, 1, 1};
static const uint8_t gaps[4] = {2, 255, 41, 0};
static const float values[3] = {1.5f, -2.5f, 3.5f};
static const struct toy_part sparse[4] = {
	{"m.start", CWE_DTYPE_U32, 1, {4, 0}, starts},
	{"m.escapes", CWE_DTYPE_U32, 1, {4, 0}, escaped},
	{"m.gaps", CWE_DTYPE_U8, 1, {4, 0}, gaps},
	{"m.values", CWE_DTYPE_F32, 1, {3, 0}, values},
};

static void check_values(const float *dst)
{
	int i;

	for (i = 0; i < 900; i++)
		assert_true(dst[i] == (i == 2 ? 1.5f : i == 299 ? -2.5f : i == 600 ? 3.5f : 0.0f));
}

static void test_rows_by_hand(void **state)
{
	float dst[900] = {0};

	(void)state;
	assert_int_equal(try_parts("1", sparse, 4, dst), 0);
	check_values(dst);
}

static void test_bitmap_by_hand(void **state)
{
	static const uint32_t counts[4] = {0, 2, 2, 3};
	uint8_t bits[3 * 38] = {0};
	struct toy_part part[3] = {
		{"m.start", CWE_DTYPE_U32, 1, {4, 0}, counts},
		{"m.bitmap", CWE_DTYPE_U8, 2, {3, 38}, bits},
		{"m.values", CWE_DTYPE_F32, 1, {3, 0}, values},
	};
	float dst[900] = {0};

	(void)state;
	set(bits, 38, 0, 2);
	set(bits, 38, 0, 299);
	set(bits, 38, 2, 0);
	assert_int_equal(try_parts("1", part, 3, dst), 0);
	check_values(dst);
	set(bits, 38, 1, 300); /* behind the width */
	assert_int_equal(try_parts("1", part, 3, dst), CWP_EFORMAT);
	bits[38 + 37] = 0;
	set(bits, 38, 1, 7); /* one more than its count */
	assert_int_equal(try_parts("1", part, 3, dst), CWP_EFORMAT);
	bits[38] = 0;
	bits[2 * 38] = 0; /* one less */
	assert_int_equal(try_parts("1", part, 3, dst), CWP_EFORMAT);
	bits[2 * 38] = 1;
	part[1].shape[1] = 37;
	assert_int_equal(try_parts("1", part, 3, dst), CWP_EFORMAT);
}

/* Sets one number of one tensor and expects a refusal. */
static void refuse_u32(size_t which, size_t at, uint32_t value)
{
	struct toy_part part[4];
	uint32_t changed[4];
	float dst[900] = {0};

	memcpy(part, sparse, sizeof part);
	memcpy(changed, part[which].data, sizeof changed);
	changed[at] = value;
	part[which].data = changed;
	if (try_parts("1", part, 4, dst) != CWP_EFORMAT)
		fail_msg("%s[%zu] = %u was taken", part[which].name, at, value);
}

static void refuse_gap(size_t at, uint8_t value)
{
	struct toy_part part[4];
	uint8_t changed[4];
	float dst[900] = {0};

	memcpy(part, sparse, sizeof part);
	memcpy(changed, gaps, sizeof changed);
	changed[at] = value;
	part[2].data = changed;
	if (try_parts("1", part, 4, dst) != CWP_EFORMAT)
		fail_msg("gaps[%zu] = %u was taken", at, value);
}

static void test_wrong_numbers(void **state)
{
	(void)state;
	refuse_u32(0, 0, 1);          /* does not begin with 0 */
	refuse_u32(0, 1, 5);          /* beyond the gaps */
	refuse_u32(0, 1, 2);          /* an escape ends a row */
	refuse_u32(0, 2, 2);          /* descending */
	refuse_u32(0, 3, 3);          /* does not end with the gaps */
	refuse_u32(0, 3, 5);
	refuse_u32(0, 3, UINT32_MAX);
	refuse_u32(1, 0, 1);
	refuse_u32(1, 1, 0);          /* escapes are fewer than the bytes */
	refuse_u32(1, 1, 2);
	refuse_u32(1, 3, 0);
	refuse_u32(1, 3, UINT32_MAX);
	refuse_gap(2, 42);            /* column 300 */
	refuse_gap(2, 255);           /* 510 columns */
	refuse_gap(0, 255);
	refuse_gap(1, 41);            /* the escape is missing */
	refuse_gap(3, 255);
}

static void test_wrong_tensors(void **state)
{
	struct toy_part part[5];
	float dst[900] = {0};
	size_t i, k;

	(void)state;
	assert_int_equal(try_parts("2", sparse, 4, dst), CWP_EFORMAT); /* another version */
	for (i = 0; i < 4; i++) { /* one is missing */
		for (k = 0; k < 3; k++)
			part[k] = sparse[k < i ? k : k + 1];
		assert_int_equal(try_parts("1", part, 3, dst), CWP_EFORMAT);
	}
	memcpy(part, sparse, sizeof sparse);
	part[0].dtype = CWE_DTYPE_F32;
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	memcpy(part, sparse, sizeof sparse);
	part[3].dtype = CWE_DTYPE_I32;
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	memcpy(part, sparse, sizeof sparse);
	part[0].rank = 2;
	part[0].shape[1] = 1;
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	memcpy(part, sparse, sizeof sparse);
	part[0].shape[0] = 3; /* rows */
	part[1].shape[0] = 3;
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	part[1].shape[0] = 4;
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	memcpy(part, sparse, sizeof sparse);
	part[3].shape[0] = 2; /* values */
	assert_int_equal(try_parts("1", part, 4, dst), CWP_EFORMAT);
	part[4] = (struct toy_part){"m.bitmap", CWE_DTYPE_U8, 2, {1, 1}, gaps};
	memcpy(part, sparse, sizeof sparse);
	assert_int_equal(try_parts("1", part, 5, dst), CWP_EFORMAT); /* both kinds */
	part[4] = (struct toy_part){"m.other", CWE_DTYPE_U8, 1, {1, 0}, gaps};
	assert_int_equal(try_parts("1", part, 5, dst), CWP_EFORMAT);
	part[4] = (struct toy_part){"nameless", CWE_DTYPE_U8, 1, {1, 0}, gaps};
	assert_int_equal(try_parts("1", part, 5, dst), CWP_EFORMAT);
}

static void test_absent(void **state)
{
	char *folder = toy_folder();
	struct cwe_overlay *o;
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_overlay_open(folder, &o, &err), -ENOENT);
	toy_remove(folder);
	free(folder);
}

/* Any byte of the file changed, in several ways: refused, or decoded within bounds (the sanitizers watch). */
static void test_damage(void **state)
{
	static const uint8_t change[] = {0x01, 0x80, 0xff, 0x10};
	const struct cwe_safetensors_text text = {CWE_OVERLAY_KEY, "1"};
	char *folder = toy_folder(), *path = toy_path(folder, CWE_OVERLAY_FILE), *bytes;
	size_t length, i, k, refused = 0, decoded = 0;
	float dst[900];

	(void)state;
	toy_put_parts(folder, CWE_OVERLAY_FILE, &text, sparse, 4);
	bytes = toy_read(folder, CWE_OVERLAY_FILE, &length);
	for (i = 0; i < length; i++) {
		for (k = 0; k < sizeof change; k++) {
			struct cwe_overlay *o = NULL;
			struct cwb_err err = {0};
			size_t m;
			int rc;

			bytes[i] = (char)(bytes[i] ^ change[k]);
			toy_put(path, bytes, length);
			rc = cwe_overlay_open(folder, &o, &err);
			for (m = 0; !rc && m < cwe_overlay_count(o); m++)
				rc = cwe_overlay_apply(cwe_overlay_at(o, m), 3, 300, 0, 3, dst, &err);
			cwe_overlay_close(o);
			refused += rc != 0;
			decoded += rc == 0;
			bytes[i] = (char)(bytes[i] ^ change[k]);
		}
	}
	assert_true(refused > length); /* most of it is structure */
	assert_true(decoded > 0);      /* changed values decode */
	for (i = 0; i < length; i++) { /* cut short */
		struct cwe_overlay *o = NULL;
		struct cwb_err err = {0};

		toy_put(path, bytes, i);
		assert_int_equal(cwe_overlay_open(folder, &o, &err), CWP_EFORMAT);
	}
	free(bytes);
	free(path);
	toy_remove(folder);
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_rows_by_hand),
		cmocka_unit_test(test_bitmap_by_hand),
		cmocka_unit_test(test_wrong_numbers),
		cmocka_unit_test(test_wrong_tensors),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
