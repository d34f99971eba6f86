/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 against the vectors of FIPS 180-4, in one piece, in many, and from files around the size
 * of a piece. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/digest.h"

static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char million_a[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void knows_the_standard_vectors(void **state)
{
	char hex[CWB_DIGEST_HEX];

	(void)state;
	assert_int_equal(cwb_digest_buffer(NULL, 0, hex), 0);
	assert_string_equal(hex, empty);
	assert_int_equal(cwb_digest_buffer("abc", 3, hex), 0);
	assert_string_equal(hex, abc);
}

static void adds_pieces_up(void **state)
{
	struct cwb_digest d;
	char hex[CWB_DIGEST_HEX];
	char piece[997];
	size_t left = 1000000;

	(void)state;
	memset(piece, 'a', sizeof(piece));
	assert_int_equal(cwb_digest_begin(&d), 0);
	while (left > 0) {
		size_t n = left < sizeof(piece) ? left : sizeof(piece);
		cwb_digest_update(&d, piece, n);
		left -= n;
	}
	assert_int_equal(cwb_digest_end_hex(&d, hex), 0);
	assert_string_equal(hex, million_a);
	/* Finished: a second end reports a failure instead of another digest. */
	assert_true(cwb_digest_end_hex(&d, hex) < 0);
	assert_string_equal(hex, million_a);
	cwb_digest_cancel(&d);
}

static int never(void *arg)
{
	++*(int *)arg;
	return 0;
}

static int always(void *arg)
{
	(void)arg;
	return 1;
}

static void reads_files_of_any_size(void **state)
{
	static const size_t sizes[] = {0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20};
	char path[] = "/tmp/cwb-digest-XXXXXX", hex[CWB_DIGEST_HEX], expected[CWB_DIGEST_HEX];
	int fd = mkstemp(path);
	char *bytes = malloc(3 << 20);

	(void)state;
	assert_true(fd >= 0);
	assert_non_null(bytes);
	for (size_t i = 0; i < 3 << 20; i++) {
		bytes[i] = (char)(i * 2654435761u >> 13);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct cwb_err err = {0};
		uint64_t size = 99;
		int asked = 0;
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, bytes, sizes[i], 0), sizes[i]);
		assert_int_equal(cwb_digest_buffer(bytes, sizes[i], expected), 0);
		assert_int_equal(cwb_digest_file(path, hex, &size, &err), 0);
		assert_string_equal(hex, expected);
		assert_int_equal(size, sizes[i]);
		assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
		assert_int_equal(cwb_digest_fd(fd, path, never, &asked, hex, NULL, &err), 0);
		assert_string_equal(hex, expected);
		assert_true(asked > 0);
		assert_int_equal(lseek(fd, 0, SEEK_CUR), 5);
		assert_int_equal(
			cwb_digest_fd(fd, path, always, NULL, hex, NULL, &err), CWP_ECANCELLED);
	}
	free(bytes);
	close(fd);
	unlink(path);
}

static void refuses_what_is_no_file(void **state)
{
	struct cwb_err err = {0};
	char hex[CWB_DIGEST_HEX] = "untouched";

	(void)state;
	assert_true(cwb_digest_file("/nonexistent/file", hex, NULL, &err) < 0);
	assert_non_null(strstr(err.message, "/nonexistent/file"));
	cwb_err_clear(&err);
	assert_int_equal(cwb_digest_file("/tmp", hex, NULL, &err), CWP_EFORMAT);
	assert_string_equal(hex, "untouched");
	/* A fifo without a writer must not hang. */
	char folder[] = "/tmp/cwb-digest-XXXXXX", fifo[64];
	assert_non_null(mkdtemp(folder));
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	cwb_err_clear(&err);
	assert_int_equal(cwb_digest_file(fifo, hex, NULL, &err), CWP_EFORMAT);
	unlink(fifo);
	rmdir(folder);
}

static void tells_digests_from_other_texts(void **state)
{
	char text[CWB_DIGEST_HEX + 1];

	(void)state;
	assert_true(cwb_digest_is_hex(abc));
	assert_false(cwb_digest_is_hex(""));
	assert_false(cwb_digest_is_hex(abc + 1));
	snprintf(text, sizeof(text), "%s0", abc);
	assert_false(cwb_digest_is_hex(text));
	snprintf(text, sizeof(text), "%s", abc);
	text[3] = 'A';
	assert_false(cwb_digest_is_hex(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_the_standard_vectors),
		cmocka_unit_test(adds_pieces_up),
		cmocka_unit_test(reads_files_of_any_size),
		cmocka_unit_test(refuses_what_is_no_file),
		cmocka_unit_test(tells_digests_from_other_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
