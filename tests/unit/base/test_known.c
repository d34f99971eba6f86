/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests are found while a file is the same, and only then; young files are not listed; the list is bounded, shared, and
 * harmless when damaged. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/known.h"

static const struct timespec now = {.tv_sec = 1700000000, .tv_nsec = 5};
static char path[64];
static int folder = -1;

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/cwb-known-XXXXXX");
	if (mkdtemp(path) == NULL) {
		return -1;
	}
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(folder);
	return cwb_file_remove_tree(AT_FDCWD, path, NULL);
}

/* The digest of number i: it ends with its digits. */
static const char *hex_of(unsigned i)
{
	static char hex[CWB_DIGEST_HEX];
	snprintf(hex, sizeof hex, "%064x", i);
	return hex;
}

/* A file that was last touched `seconds` before now. */
static struct cwb_known_file file_of(unsigned i, int64_t seconds)
{
	int64_t at = ((int64_t)now.tv_sec - seconds) * 1000000000 + now.tv_nsec;
	return (struct cwb_known_file){.device = 7, .inode = i, .size = 100, .modified = at, .changed = at};
}

static void add(struct cwb_known *k, unsigned i, int64_t seconds)
{
	struct cwb_known_file f = file_of(i, seconds);
	assert_int_equal(cwb_known_add(k, &f, &now, hex_of(i)), 0);
}

static int knows(struct cwb_known *k, unsigned i, int64_t seconds)
{
	struct cwb_known_file f = file_of(i, seconds);
	char hex[CWB_DIGEST_HEX] = "";
	int found = cwb_known_find(k, &f, hex);
	assert_true(!found || strcmp(hex, hex_of(i)) == 0);
	return found;
}

static void test_same_file_only(void **state)
{
	(void)state;
	struct cwb_known k = {0};
	char hex[CWB_DIGEST_HEX];
	assert_false(knows(&k, 1, 10));
	add(&k, 1, 10);
	assert_true(knows(&k, 1, 10));
	struct cwb_known_file good = file_of(1, 10), bad;
#define DIFFERS(field)                                                                                                 \
	bad = good;                                                                                                    \
	bad.field++;                                                                                                   \
	assert_false(cwb_known_find(&k, &bad, hex))
	DIFFERS(device);
	DIFFERS(inode);
	DIFFERS(size);
	DIFFERS(modified);
	DIFFERS(changed);
#undef DIFFERS
	/* The same inode later: one entry, the new one. */
	add(&k, 1, 5);
	assert_int_equal(k.count, 1);
	assert_true(knows(&k, 1, 5));
	assert_false(knows(&k, 1, 10));
	cwb_known_clear(&k);
}

static void test_young_files(void **state)
{
	(void)state;
	struct cwb_known k = {0};
	add(&k, 1, 0);
	add(&k, 2, 1);
	add(&k, 3, -100); /* from a clock that goes wrong */
	struct cwb_known_file f = file_of(4, 10);
	f.changed = file_of(4, 1).changed;
	assert_int_equal(cwb_known_add(&k, &f, &now, hex_of(4)), 0);
	assert_int_equal(k.count, 0);
	add(&k, 5, 2);
	assert_int_equal(k.count, 1);
	cwb_known_clear(&k);
}

static void test_kept_and_bounded(void **state)
{
	(void)state;
	struct cwb_known k = {0}, other = {0};
	for (unsigned i = 0; i < CWB_KNOWN_MAX + 10; i++) {
		add(&k, i, 10);
		assert_true(i < 100 || knows(&k, 99, 10)); /* in use all the time */
	}
	assert_int_equal(k.count, CWB_KNOWN_MAX);
	assert_int_equal(cwb_known_write(&k, folder, NULL), 0);
	cwb_known_read(&other, folder);
	assert_int_equal(other.count, CWB_KNOWN_MAX);
	assert_false(knows(&other, 0, 10));
	assert_true(knows(&other, 99, 10));
	assert_true(knows(&other, CWB_KNOWN_MAX + 9, 10));
	/* Two that know nothing of each other lose nothing of each other. */
	cwb_known_clear(&k);
	add(&k, 5000, 10);
	add(&other, 5001, 10);
	assert_int_equal(cwb_known_write(&other, folder, NULL), 0);
	assert_int_equal(cwb_known_write(&k, folder, NULL), 0);
	cwb_known_clear(&other);
	cwb_known_read(&other, folder);
	assert_true(knows(&other, 5000, 10) && knows(&other, 5001, 10));
	cwb_known_clear(&k);
	cwb_known_clear(&other);
}

static void test_damage(void **state)
{
	(void)state;
#define FIRST "cwp-digests 1\n"
#define GOOD                                                                                                           \
	"7 1 100 1699999990000000005 1699999990000000005 "                                                             \
	"0000000000000000000000000000000000000000000000000000000000000001"
	static const char *const texts[] = {FIRST GOOD "\n", "cwp-digests 2\n" GOOD "\n", GOOD "\n", FIRST GOOD " 5\n",
		FIRST GOOD "0\n", FIRST GOOD "\nrubbish\n", FIRST GOOD, FIRST "7 1 100 1699999990000000005\n", "", FIRST "-" GOOD "\n"};
	struct cwb_known k;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		assert_int_equal(cwb_file_replace(folder, "digests", texts[i], strlen(texts[i]), 0600, NULL), 0);
		cwb_known_read(&k, folder);
		assert_int_equal(knows(&k, 1, 10), i == 0);
		cwb_known_clear(&k);
	}
}

static void test_identity(void **state)
{
	(void)state;
	struct stat st;
	struct cwb_known_file a, b;
	assert_int_equal(cwb_file_replace(folder, "x", "abc", 3, 0600, NULL), 0);
	assert_int_equal(fstatat(folder, "x", &st, 0), 0);
	cwb_known_identify(&st, &a);
	assert_int_equal(a.size, 3);
	assert_int_equal(cwb_file_replace(folder, "x", "abd", 3, 0600, NULL), 0);
	assert_int_equal(fstatat(folder, "x", &st, 0), 0);
	cwb_known_identify(&st, &b);
	assert_false(cwb_known_same(&a, &b)); /* another inode, or another time */
	assert_true(cwb_known_same(&b, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_file_only),
		cmocka_unit_test(test_young_files),
		cmocka_unit_test_setup_teardown(test_kept_and_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_identity, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
