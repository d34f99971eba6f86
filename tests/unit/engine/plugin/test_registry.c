/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Search in plugin directories: names, kinds, order, owners and modes. Uses copies of the project's own plugins. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/plugin/trust.h"
#include "tests/plugins/common.h"

/* A folder that nobody else can write to, with two folders `one` and `two`. */
static char top[256], one[300], two[300];

static void copy_plugin(const char *id, const char *directory, const char *name)
{
	const char *source = getenv("CWP_PLUGIN_DIR");
	char from[4096], to[4096];
	char *data = NULL;
	size_t length = 0;

	snprintf(from, sizeof(from), "%s/%s.so", source != NULL ? source : "plugins/.libs", id);
	snprintf(to, sizeof(to), "%s/%s", directory, name);
	assert_int_equal(cwb_file_read(from, 1 << 26, &data, &length, NULL), 0);
	assert_int_equal(cwb_file_replace_path(to, data, length, 0644, NULL), 0);
	free(data);
}

static void write_text(const char *directory, const char *name, const char *text)
{
	char to[4096];

	snprintf(to, sizeof(to), "%s/%s", directory, name);
	assert_int_equal(cwb_file_replace_path(to, text, strlen(text), 0644, NULL), 0);
}

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	umask(022);
	/* Where the temporary folder itself is not to be trusted, /tmp is: it is sticky and root's. */
	if (base == NULL || base[0] != '/' || cwe_trust_check(base, NULL, NULL) < 0) {
		base = "/tmp";
	}
	snprintf(top, sizeof(top), "%s/cwp-registry-XXXXXX", base);
	assert_non_null(mkdtemp(top));
	snprintf(one, sizeof(one), "%s/one", top);
	snprintf(two, sizeof(two), "%s/two", top);
	assert_int_equal(mkdir(one, 0755), 0);
	assert_int_equal(mkdir(two, 0755), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return cwb_file_remove_tree(AT_FDCWD, top, NULL);
}

static int find(const char *const *directories, size_t count, unsigned flags, uint32_t kind, const char *id, const struct cwe_plugin **ret,
	struct cwb_err *err)
{
	struct cwe_registry *r = NULL;

	memset(err, 0, sizeof(*err));
	*ret = NULL;
	assert_int_equal(cwe_registry_new(directories, count, flags, &r, err), 0);
	int rc = cwe_registry_find(r, kind, id, ret, err);
	cwe_registry_free(r);
	assert_true(rc == 0 ? *ret != NULL : *ret == NULL);
	return rc;
}

/* Looks for a scorer in `one`, then `two`. */
static int find_scorer(const char *id, const struct cwe_plugin **ret, struct cwb_err *err)
{
	const char *const both[] = {one, two};

	return find(both, 2, 0, CWP_KIND_SCORER, id, ret, err);
}

#define HAS(err, text)                                                                   \
	do {                                                                             \
		if (strstr((err).message, (text)) == NULL) {                             \
			fail_msg("'%s' lacks '%s'", (err).message, (text));              \
		}                                                                        \
	} while (0)

static void test_found(void **state)
{
	const struct cwe_plugin *p, *again;
	struct cwb_err err;

	(void)state;
	copy_plugin("wanda", two, "wanda.so");
	assert_int_equal(find_scorer("wanda", &p, &err), 0);
	assert_string_equal(p->descriptor->id, "wanda");
	assert_int_equal(strncmp(p->path, two, strlen(two)), 0);
	assert_in_range(strlen(p->build_id), 8, 64);
	/* Opened once, also for another registry. */
	assert_int_equal(find_scorer("wanda", &again, &err), 0);
	assert_ptr_equal(p, again);
	/* The first directory wins. */
	copy_plugin("wanda", one, "wanda.so");
	assert_int_equal(find_scorer("wanda", &again, &err), 0);
	assert_int_equal(strncmp(again->path, one, strlen(one)), 0);
	assert_ptr_not_equal(p, again);
}

static void test_not_found(void **state)
{
	const char *const missing[] = {"/nonexistent/plugins"};
	const struct cwe_plugin *p;
	struct cwb_err err;

	(void)state;
	copy_plugin("wanda", one, "wanda.so");
	copy_plugin("static", one, "static.so");
	assert_int_equal(find_scorer("wnada", &p, &err), CWP_EUNKNOWN);
	HAS(err, "no scorer plugin 'wnada' in ");
	HAS(err, "did you mean 'wanda'?");
	assert_string_equal(err.nearest, "wanda");
	assert_int_equal(find_scorer("static", &p, &err), CWP_EUNKNOWN);
	HAS(err, "'static' is a quantizer");
	/* A file that is named like the plugin but is another one. */
	copy_plugin("wanda", one, "magic.so");
	assert_int_equal(find_scorer("magic", &p, &err), CWP_EPLUGIN);
	HAS(err, "one/magic.so: holds plugin 'wanda'; rename the file to wanda.so");
	/* A plugin of another kind does not stand in the way of one further on. */
	copy_plugin("wanda", two, "static.so");
	assert_int_equal(find_scorer("static", &p, &err), CWP_EPLUGIN);
	HAS(err, "two/static.so: holds plugin 'wanda'");
	assert_int_equal(find(missing, 1, 0, CWP_KIND_SCORER, "wanda", &p, &err), CWP_EUNKNOWN);
	HAS(err, "/nonexistent/plugins");
	assert_int_equal(find(NULL, 0, 0, CWP_KIND_SCORER, "wanda", &p, &err), CWP_EUNKNOWN);
	HAS(err, "none is configured");
	assert_int_equal(find(missing, 1, 0, 99, "wanda", &p, &err), CWP_EVALUE);
}

static void test_names_are_no_paths(void **state)
{
	static const char *const bad[] = {"", "../one/wanda", "/etc/passwd", "Wanda", "wanda.so", "-x", "9x", "a b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	const char *const relative[] = {"plugins"};
	struct cwe_registry *r = NULL;
	const struct cwe_plugin *p;
	struct cwb_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(find_scorer(bad[i], &p, &err), CWP_EUNKNOWN);
		HAS(err, "no plugin's id");
	}
	cwb_err_clear(&err);
	assert_int_equal(cwe_registry_new(relative, 1, 0, &r, &err), CWP_EVALUE);
	HAS(err, "'plugins' is not an absolute path");
	cwb_err_clear(&err);
	assert_int_equal(cwe_registry_new(NULL, 0, 64, &r, &err), CWP_EVALUE);
	cwe_registry_free(NULL);
}

static void test_refused_files(void **state)
{
	const struct cwe_plugin *p;
	struct cwb_err err;
	char file[400], mock[4096];
	const char *build = getenv("CWP_BUILDDIR");

	(void)state;
	copy_plugin("wanda", two, "wanda.so");
	write_text(one, "wanda.so", "not a plugin");
	/* The file that carries the name is meant; a second one must not hide that it is broken. */
	assert_int_equal(find_scorer("wanda", &p, &err), CWP_EFORMAT);
	HAS(err, "one/wanda.so");
	snprintf(file, sizeof(file), "%s/wanda.so", one);
	assert_int_equal(unlink(file), 0);
	/* Other files are never opened, whatever is wrong with them: this one would end the process. */
	write_text(one, "broken.so", "not a plugin either");
	snprintf(mock, sizeof(mock), "%s/tests/plugins/zoo/.libs/aborts_on_load.so", build != NULL ? build : ".");
	snprintf(file, sizeof(file), "%s/wandb.so", one);
	assert_int_equal(symlink(mock, file), 0);
	assert_int_equal(find_scorer("wanda", &p, &err), 0);
	assert_int_equal(find_scorer("wandc", &p, &err), CWP_EUNKNOWN);
	assert_string_equal(err.nearest, "wandb");
}

/* A plugin that does not survive being loaded is refused; this process goes on. */
static void test_faulty_plugins(void **state)
{
	static const char *const file[] = {"aborts_on_load", "traps_on_call", "exits_on_load", "unresolved", "no_licence"};
	static const char *const text[] = {"crashed while it was loaded (signal 6", "while it was loaded", "ended the process with status 0",
		"missing_function", "has no licence"};
	const char *build = getenv("CWP_BUILDDIR");
	const struct cwe_plugin *p;
	struct cwb_err err;
	char mock[4096], link[400];

	(void)state;
	const char *const directory[] = {one};
	snprintf(link, sizeof(link), "%s/zoo.so", one);
	for (int i = 0; i < 5; i++) {
		snprintf(mock, sizeof(mock), "%s/tests/plugins/zoo/.libs/%s.so", build != NULL ? build : ".", file[i]);
		assert_int_equal(symlink(mock, link), 0);
		assert_int_equal(find(directory, 1, CWE_REGISTRY_ANY_OWNER, CWP_KIND_SCORER, "zoo", &p, &err), CWP_EPLUGIN);
		HAS(err, text[i]);
		HAS(err, file[i]);
		assert_int_equal(unlink(link), 0);
	}
}

static void test_modes(void **state)
{
	const char *const directory[] = {one};
	const struct cwe_plugin *p;
	struct cwb_err err;
	char file[400], link[400];

	(void)state;
	copy_plugin("gradient", one, "gradient.so");
	snprintf(file, sizeof(file), "%s/gradient.so", one);
	snprintf(link, sizeof(link), "%s/link.so", top);
	assert_int_equal(find_scorer("gradient", &p, &err), 0);
	assert_int_equal(chmod(file, 0664), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), CWP_EDENIED);
	HAS(err, "gradient.so has mode 0664");
	HAS(err, "chmod go-w");
	assert_int_equal(chmod(file, 0644), 0);
	assert_int_equal(chmod(one, 0757), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), CWP_EDENIED);
	HAS(err, "one has mode 0757");
	/* Sticky alone does not help: only root's are like /tmp. */
	assert_int_equal(chmod(one, 01777), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), geteuid() == 0 ? 0 : CWP_EDENIED);
	assert_int_equal(chmod(one, 0777), 0);
	assert_int_equal(find(directory, 1, CWE_REGISTRY_ANY_OWNER, CWP_KIND_SCORER, "gradient", &p, &err), 0);
	/* A link from a safe place does not make an unsafe one safe. */
	assert_int_equal(symlink(file, link), 0);
	cwb_err_clear(&err);
	assert_int_equal(cwe_trust_check(link, NULL, &err), CWP_EDENIED);
	assert_int_equal(chmod(one, 0755), 0);
	assert_int_equal(cwe_trust_check(link, NULL, NULL), 0);
	cwb_err_clear(&err);
	assert_int_equal(cwe_trust_check("relative", NULL, &err), CWP_EVALUE);
	assert_int_equal(cwe_trust_check("/nonexistent", NULL, NULL), -ENOENT);
}

static void test_owners(void **state)
{
	const struct cwe_plugin *p;
	struct cwb_err err;

	(void)state;
	if (geteuid() != 0) {
		skip();
	}
	copy_plugin("gradient", one, "gradient.so");
	assert_int_equal(chown(one, 12345, 0), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), CWP_EDENIED);
	HAS(err, "one belongs to user 12345");
	assert_int_equal(chown(one, 0, 0), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), 0);
	/* The whole way counts, not only the last folder. */
	assert_int_equal(chown(top, 12345, 0), 0);
	assert_int_equal(find_scorer("gradient", &p, &err), CWP_EDENIED);
	assert_int_equal(chown(top, 0, 0), 0);
}

static void test_interfaces(void **state)
{
	(void)state;
	assert_string_equal(cwe_kind_interface(CWP_KIND_SCORER), "cwp.scorer/1.draft");
	assert_string_equal(cwe_kind_interface(CWP_KIND_QUANTIZER), "cwp.quantizer/1.draft");
	assert_string_equal(cwe_kind_interface(CWP_KIND_BACKEND), "cwp.backend/1.draft");
	assert_string_equal(cwe_kind_interface(CWP_KIND_EVALUATOR), "cwp.evaluator/1.draft");
	assert_null(cwe_kind_interface(0));
	assert_null(cwe_kind_interface(5));
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_found),
		EACH(test_not_found),
		EACH(test_names_are_no_paths),
		EACH(test_refused_files),
		EACH(test_faulty_plugins),
		EACH(test_modes),
		EACH(test_owners),
		cmocka_unit_test(test_interfaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
