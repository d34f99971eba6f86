/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which device a job's word means, and what is said where it means none. */
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cwp/error.h>

#include "plugins/backends/cuda/devices.h"

enum { N = 4 };

static const struct cuda_device_entry list[N] = {
	{"GPU-11111111-2222-3333-4444-555555555555", "Old", 75, 0, CUDA_SHARED},
	{"GPU-aaaaaaaa-0000-0000-0000-000000000001", "Closed", 90, 0, CUDA_PROHIBITED},
	{"GPU-aaaaaaaa-0000-0000-0000-000000000002", "Good", 90, 0, CUDA_SHARED},
	{"GPU-bbbbbbbb-0000-0000-0000-000000000003", "Alone", 80, 0, CUDA_EXCLUSIVE},
};

static void test_uuid(void **state)
{
	(void)state;
	static const unsigned char uuid[16] = {0x6f, 0x5a, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba};
	char text[CUDA_UUID_TEXT];
	cuda_uuid_text(uuid, text);
	assert_string_equal(text, "GPU-6f5a0123-4567-89ab-cdef-1032547698ba");
}

static void test_found(void **state)
{
	(void)state;
	static const struct {
		const char *want;
		size_t index;
	} found[] = {{NULL, 2}, {"2", 2}, {"3", 3}, {"GPU-aaaaaaaa-0000-0000-0000-000000000002", 2}, {"gpu-AAAAAAAA-0000-0000-0000-000000000002", 2},
		{"GPU-b", 3}};
	for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
		size_t index = 99;
		char text[1024] = "";
		assert_int_equal(cuda_device_choose(list, N, found[i].want, &index, text, sizeof text), 0);
		assert_int_equal(index, found[i].index);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *want, *said;
	} refused[] = {
		{"0", "compute capability 7.5"},
		{"1", "prohibited"},
		{"4", "there is no device 4: there are 0: GPU-11111111-2222-3333-4444-555555555555 (Old), 1: GPU-"},
		{"12345", "there is no device \"12345\""},
		{"GPU-", "there is no device \"GPU-\""},
		{"GPU-aaaaaaaa", "more than one device begins with"},
		{"GPU-cccccccc", "3: GPU-bbbbbbbb-0000-0000-0000-000000000003 (Alone)"},
		{"", "there is no device \"\""},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		size_t index = 99;
		char text[1024] = "";
		assert_int_equal(cuda_device_choose(list, N, refused[i].want, &index, text, sizeof text), CWP_EMISSING);
		if (!strstr(text, refused[i].said)) {
			fail_msg("\"%s\": \"%s\"", refused[i].want, text);
		}
	}
}

static void test_none_usable(void **state)
{
	(void)state;
	size_t index = 99;
	char text[1024] = "";
	assert_int_equal(cuda_device_choose(list, 0, NULL, &index, text, sizeof text), CWP_EMISSING);
	assert_non_null(strstr(text, "no CUDA device"));
	assert_int_equal(cuda_device_choose(list, 0, "GPU-a", &index, text, sizeof text), CWP_EMISSING);
	/* The first one's reason. */
	assert_int_equal(cuda_device_choose(list, 2, NULL, &index, text, sizeof text), CWP_EMISSING);
	assert_non_null(strstr(text, "device 0 (Old"));
}

/* A short buffer cuts the text and no more. */
static void test_short_text(void **state)
{
	(void)state;
	struct cuda_device_entry many[12];
	for (size_t i = 0; i < 12; i++) {
		many[i] = list[2];
	}
	size_t index = 0;
	char text[1024] = "";
	assert_int_equal(cuda_device_choose(many, 12, "99", &index, text, sizeof text), CWP_EMISSING);
	assert_non_null(strstr(text, "and 4 more"));
	char small[40];
	assert_int_equal(cuda_device_choose(many, 12, "99", &index, small, sizeof small), CWP_EMISSING);
	assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_none_usable),
		cmocka_unit_test(test_short_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
