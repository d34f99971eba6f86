/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every file of every set below $CWP_SHARED/data through its row of the table: how many records a
 * set has, how many of them are items, as what, and by which identities. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/items.h"
#include "tests/golden/tokens_file.h"

/* All files below a folder, by name. */
struct files {
	char *path[512];
	size_t count;
};

static void list(const char *folder, struct files *f)
{
	struct dirent **entry;
	int n = scandir(folder, &entry, NULL, alphasort);
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", folder, entry[i]->d_name);
		if (entry[i]->d_type == DT_DIR && entry[i]->d_name[0] != '.') {
			list(path, f);
		} else if (entry[i]->d_type != DT_DIR && strcmp(entry[i]->d_name, "SOURCE.md") != 0) {
			assert_true(f->count < sizeof(f->path) / sizeof(*f->path));
			f->path[f->count++] = strdup(path);
		}
		free(entry[i]);
	}
	free(entry);
}

struct expectation {
	const char *folder, *data;
	const char *part; /* only files whose path has this; NULL: all */
	enum cwj_as as;
	const char *language;
	size_t files, records, items;
	size_t identities; /* different ones; 0: not counted */
};

static const struct expectation sets[] = {
	{"crows-pairs", "crows-pairs", NULL, CWJ_AS_AUTO, NULL, 1, 1055, 1055, 1055},
	{"crows-pairs-multi", "crows-pairs", NULL, CWJ_AS_AUTO, NULL, 3, 3072, 3071, 1024},
	{"stereoset-multi", "stereoset", NULL, CWJ_AS_AUTO, NULL, 10, 14798, 14798, 2960},
	{"stereoset-ptbr", "stereoset", NULL, CWJ_AS_AUTO, NULL, 1, 2960, 2960, 2960},
	{"bbq", "bbq", ".jsonl", CWJ_AS_AUTO, NULL, 6, 5944, 5944, 5944},
	{"bbq", "bbq", ".jsonl", CWJ_AS_ANSWERS, NULL, 6, 5944, 5944, 5944},
	{"mbbq", "mbbq", NULL, CWJ_AS_AUTO, NULL, 48, 16128, 16000, 0},
	{"mbbq", "mbbq", NULL, CWJ_AS_ANSWERS, NULL, 48, 16128, 16128, 0},
	{"advbench", "advbench", NULL, CWJ_AS_AUTO, NULL, 1, 364, 364, 364},
	{"advbench", "advbench", NULL, CWJ_AS_REFUSALS, NULL, 1, 364, 364, 364},
	{"harmbench", "harmbench", NULL, CWJ_AS_AUTO, NULL, 1, 279, 279, 279},
	{"strongreject", "strongreject", NULL, CWJ_AS_AUTO, NULL, 1, 219, 219, 219},
	{"xstest", "xstest", NULL, CWJ_AS_AUTO, NULL, 1, 306, 136, 136},
	{"xstest", "xstest", NULL, CWJ_AS_TEXT, NULL, 1, 306, 306, 306},
	{"multijail", "multijail", NULL, CWJ_AS_AUTO, NULL, 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "zh", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "it", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "vi", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "ar", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "ko", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "th", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "bn", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "sw", 1, 221, 221, 221},
	{"multijail", "multijail", NULL, CWJ_AS_TEXT, "jv", 1, 221, 221, 221},
	{"refusal-pairs", "refusal-pairs", NULL, CWJ_AS_AUTO, NULL, 1, 714, 711, 0},
	{"xsafety", "xsafety", NULL, CWJ_AS_AUTO, NULL, 70, 9800, 9800, 1960},
	{"bbh", "bbh", ".json", CWJ_AS_AUTO, NULL, 27, 4558, 4558, 4558},
	{"mmlu", "mmlu", "/test/", CWJ_AS_AUTO, NULL, 57, 1995, 1995, 0},
	{"mmlu", "mmlu", "/dev/", CWJ_AS_TEXT, NULL, 57, 285, 285, 0},
	{"wikitext2", "wikitext2", NULL, CWJ_AS_AUTO, NULL, 2, 0, 0, 85},
	{"ud-text", "ud-text", NULL, CWJ_AS_AUTO, NULL, 7, 5522, 5522, 0},
	{"instructions", "instructions", NULL, CWJ_AS_AUTO, NULL, 2, 299, 299, 299},
	{"instructions", "instructions", NULL, CWJ_AS_TEXT, NULL, 2, 299, 299, 299},
	{"harmless-instructions", "harmless-instructions", NULL, CWJ_AS_AUTO, NULL, 1, 4385, 4385, 0},
};

static char **identity;
static size_t identities;

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t different(void)
{
	size_t n = 0;
	if (identities > 0)
		qsort(identity, identities, sizeof(*identity), compare);
	for (size_t i = 0; i < identities; i++) {
		n += i == 0 || strcmp(identity[i], identity[i - 1]) != 0;
	}
	for (size_t i = 0; i < identities; i++)
		free(identity[i]);
	free(identity);
	identity = NULL;
	identities = 0;
	return n;
}

static void open_items(const struct cwj_set *set, struct cwe_items *items)
{
	struct cwb_err err = {0};
	if (cwe_items_open(set, 7, items, &err) < 0)
		fail_msg("%s", err.message);
}

/* Every item of a file, read again: its parts have text, and its identity is known. */
static void check_items(struct cwe_items *items)
{
	struct cwb_err err = {0};
	char prefix[64];
	snprintf(prefix, sizeof(prefix), "%s/", items->set->data);
	identity = realloc(identity, (identities + items->count) * sizeof(*identity));
	for (size_t i = 0; i < items->count; i++) {
		struct cwe_item_text t;
		if (cwe_items_text(items, i, &t, &err) < 0)
			fail_msg("%s", err.message);
		static const size_t parts[] = {1, 2, 3, 2};
		assert_int_equal(t.count, parts[items->kind]);
		for (size_t k = items->kind == CWE_ITEM_PAIR; k < t.count; k++) {
			assert_true(t.length[k] > 0);
			assert_int_equal(strlen(t.part[k]), t.length[k]);
			assert_null(strstr(t.part[k], "\xEF\xBB\xBF"
						      "\""));
		}
		assert_memory_equal(t.identity, prefix, strlen(prefix));
		identity[identities++] = strdup(t.identity);
		cwe_item_text_free(&t);
	}
}

static void check_set(const struct expectation *e)
{
	struct files files = {0};
	size_t read = 0;
	size_t records = 0;
	size_t count = 0;
	list(shared_path("data/%s", e->folder), &files);
	for (size_t i = 0; i < files.count; i++) {
		struct cwe_items items;
		const struct cwj_set set = {.name = (char *)"x",
			.data = (char *)e->data,
			.path = files.path[i],
			.as = e->as,
			.language = (char *)e->language};
		if (!e->part || strstr(files.path[i], e->part)) {
			open_items(&set, &items);
			check_items(&items);
			read++;
			records += items.records;
			count += items.count;
			assert_int_equal(items.count + items.passed, items.records);
			cwe_items_close(&items);
		}
		free(files.path[i]);
	}
	size_t n = different();
	if (getenv("CWP_PRINT"))
		printf("%s %zu files, %zu records, %zu items, %zu identities\n", e->folder, read,
			records, count, n);
	else {
	assert_int_equal(read, e->files);
	if (e->records > 0)
		assert_int_equal(records, e->records);
	if (e->items > 0)
		assert_int_equal(count, e->items);
	if (e->identities > 0)
		assert_int_equal(n, e->identities);
	}
}

static void test_sets(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
		check_set(&sets[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
	};
	need_file(shared_path("data/advbench/harmful_behaviors.csv"));
	return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
