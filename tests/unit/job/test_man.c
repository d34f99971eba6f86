/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The manual pages name every key and every choice of the schemas, and the example in cwp-job(5) is
 * a job. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "job/config_table.h"
#include "job/job_table.h"

static char *read_page(const char *name)
{
	const char *source = getenv("CWP_SRCDIR");
	struct cwb_err err = {0};
	char path[4096], *text;
	size_t length;

	snprintf(path, sizeof(path), "%s/man/%s", source != NULL ? source : ".", name);
	if (cwb_file_read(path, 1 << 20, &text, &length, &err) < 0) {
		fail_msg("%s", err.message);
	}
	return text;
}

/* Whether a line that begins with `macro` has this word. */
static int has_word(const char *page, const char *macro, const char *word)
{
	for (const char *line = page; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, macro, strlen(macro)) != 0) {
			continue;
		}
		const char *at = line + strlen(macro);
		while (*at != '\n' && *at != '\0') {
			at += strspn(at, " ");
			size_t n = strcspn(at, " \n");
			if (n == strlen(word) && memcmp(at, word, n) == 0) {
				return 1;
			}
			at += n;
		}
	}
	return 0;
}

static void check_table(const char *page, const struct cwj_table *table)
{
	for (const struct cwj_key *key = table->keys; key->name != NULL; key++) {
		if (!has_word(page, ".It Cm ", key->name)) {
			fail_msg("no .It Cm %s", key->name);
		}
		for (size_t i = 0; key->names != NULL && key->names[i] != NULL; i++) {
			if (!has_word(page, ".Cm ", key->names[i]) &&
				!has_word(page, ".It Cm ", key->names[i])) {
				fail_msg("%s: no .Cm %s", key->name, key->names[i]);
			}
		}
		if (key->table != NULL) {
			check_table(page, key->table);
		}
	}
}

static void pages_name_every_key(void **state)
{
	char *page = read_page("cwp-job.5");

	(void)state;
	check_table(page, &cwj_job_table);
	assert_false(has_word(page, ".It Cm ", "fracton"));
	free(page);
	page = read_page("cwpd.yaml.5");
	check_table(page, &cwj_config_table);
	free(page);
}

/* Each literal block of the section EXAMPLES. */
static void examples_are_jobs(void **state)
{
	char *page = read_page("cwp-job.5");
	const char *at = strstr(page, "\n.Sh EXAMPLES\n"),
		   *end = strstr(page, "\n.Sh DIAGNOSTICS\n");
	int count = 0;

	(void)state;
	assert_non_null(at);
	assert_non_null(end);
	while ((at = strstr(at, "\n.Bd -literal\n")) != NULL && at < end) {
		struct cwb_err err = {0};
		struct cwj_job *job = NULL;
		at += strlen("\n.Bd -literal\n");
		const char *stop = strstr(at, ".Ed\n");
		assert_non_null(stop);
		if (cwj_job_parse(at, (size_t)(stop - at), "/", &job, &err) != 0) {
			fail_msg("example %d: line %d: %s", count, err.line, err.message);
		}
		cwj_job_free(job);
		count++;
	}
	assert_int_equal(count, 2);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_name_every_key),
		cmocka_unit_test(examples_are_jobs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
