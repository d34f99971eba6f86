/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The zoo of misbehaving plugins: each is refused with a text that says what is wrong, and nothing crashes. Those
 * that run code when they are loaded are only ever opened by cwp-probe. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/plugins/common.h"

static const struct animal {
	const char *file;
	int code; /* 0: accepted */
	const char *text;
	int dangerous; /* 1: not to be opened in this process */
} zoo[] = {
	{"good", 0, "good", 0},
	{"no_note", CWP_EABI, "no ABI note", 0},
	{"wrong_major", CWP_EABI, "built for plugin ABI 2.0, this host has 1.0", 0},
	{"newer_minor", CWP_EABI, "built for plugin ABI 1.1, this host has 1.0; upgrade", 0},
	{"unknown_kind", CWP_EABI, "kind 77", 0},
	{"wrong_kind", CWP_EPLUGIN, "its descriptor says kind 1 (scorer), its note quantizer", 0},
	{"wrong_version", CWP_EABI, "its descriptor says plugin ABI 7.0, its note 1.0, this host has 1.0", 0},
	{"missing_symbol", CWP_EPLUGIN, "exports no symbol cwp_plugin", 0},
	{"function_symbol", CWP_EPLUGIN, "is a function", 0},
	{"small_size", CWP_EPLUGIN, "size field says 16 bytes", 0},
	{"large_size", CWP_EPLUGIN, "size field says 4096 bytes, the symbol cwp_plugin has", 0},
	{"bad_id", CWP_EPLUGIN, "its id '../zoo' is not", 0},
	{"no_licence", CWP_EPLUGIN, "has no licence", 0},
	{"control_text", CWP_EPLUGIN, "vendor holds a control character", 0},
	{"bad_default", CWP_EPLUGIN, "option 1 of 1: the default of option power: '9'", 0},
	{"bad_range", CWP_EPLUGIN, "has the range 'some', which does not fit its type float", 0},
	{"same_option", CWP_EPLUGIN, "two options are called 'power'", 0},
	{"no_options", CWP_EPLUGIN, "says 1 options but has no table", 0},
	{"many_options", CWP_EPLUGIN, "says 4294967295 options", 0},
	{"unknown_interface", CWP_EPLUGIN, "plugin 'zoo' has no interface cwp.scorer/1", 0},
	{"small_interface", CWP_EPLUGIN, "size field 8", 0},
	{"half_calibrated", CWP_EPLUGIN, "function 5 of interface cwp.quantizer/1", 0},
	{"half_there", CWP_EPLUGIN, "function 9 of interface cwp.quantizer/1", 0},
	{"no_score", CWP_EPLUGIN, "function 2 of interface cwp.scorer/1", 0},
	{"no_get_interface", CWP_EPLUGIN, "no get_interface", 0},
	{"unresolved", CWP_EPLUGIN, "missing_function", 0},
	{"latin_text", CWP_EPLUGIN, "not UTF-8", 1},
	{"aborts_on_load", CWP_EPLUGIN, "crashed while it was loaded (signal 6", 1},
	{"traps_on_call", CWP_EPLUGIN, "while it was loaded", 1},
	{"exits_on_load", CWP_EPLUGIN, "ended the process with status 0 while it was loaded", 1},
	{"hangs_on_load", CWP_EPLUGIN, "did not finish loading within 0.5 seconds", 1},
	{"prints_on_load", 0, "prints", 1},
	{"forks_on_load", 0, "forks", 1},
};

static void path_of(const char *file, char path[4096])
{
	const char *build = getenv("CWP_BUILDDIR");

	snprintf(path, 4096, "%s/tests/plugins/zoo/.libs/%s.so", build != NULL ? build : ".", file);
	assert_int_equal(access(path, R_OK), 0);
}

static void test_opened_here(void **state)
{
	char path[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(zoo) / sizeof(zoo[0]); i++) {
		struct cwe_plugin p;
		struct cwb_err err = {0};
		if (zoo[i].dangerous) {
			continue;
		}
		path_of(zoo[i].file, path);
		int rc = cwe_plugin_open(path, &p, &err);
		if (rc != zoo[i].code || (rc < 0 && strstr(err.message, zoo[i].text) == NULL)) {
			fail_msg("%s: %d '%s' instead of %d '%s'", zoo[i].file, rc, err.message, zoo[i].code, zoo[i].text);
		}
		if (rc < 0) {
			/* The file is named in every refusal. */
			assert_non_null(strstr(err.message, zoo[i].file));
			continue;
		}
		assert_string_equal(p.descriptor->id, zoo[i].text);
		assert_non_null(p.interface);
		assert_in_range(strlen(p.build_id), 8, 64);
		free(p.path);
	}
}

/* Runs cwp-probe with two arguments (NULL: none); its standard output in text, its exit status as the result. */
static int run_probe(const char *a, const char *b, const char *c, char *text, size_t size)
{
	const char *build = getenv("CWP_BUILDDIR");
	char program[4096];
	int ends[2], status;
	size_t length = 0;
	ssize_t n;

	snprintf(program, sizeof(program), "%s/cwp-probe", build != NULL ? build : ".");
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(ends[1], STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl(program, "cwp-probe", a, b, c, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while (length + 1 < size && ((n = read(ends[0], text + length, size - 1 - length)) > 0 || (n < 0 && errno == EINTR))) {
		length += n > 0 ? (size_t)n : 0;
	}
	text[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void check_probe(const struct animal *animal)
{
	char path[4096], text[16384];

	path_of(animal->file, path);
	int slow = strcmp(animal->file, "hangs_on_load") != 0;
	int status = run_probe("--timeout", slow ? "60" : "0.5", path, text, sizeof(text));
	json_error_t where;
	json_t *object = json_loads(text, 0, &where);
	if (object == NULL) {
		fail_msg("%s: not JSON: %s", animal->file, text);
	}
	json_t *error = json_object_get(object, "error");
	if (animal->code == 0) {
		assert_int_equal(status, 0);
		assert_null(error);
		assert_string_equal(json_string_value(json_object_get(object, "id")), animal->text);
		assert_string_equal(json_string_value(json_object_get(object, "kind")), "scorer");
		assert_string_equal(json_string_value(json_object_get(object, "abi")), "1.0");
		assert_int_equal(json_array_size(json_object_get(object, "options")), 1);
	} else {
		const char *message = json_string_value(json_object_get(error, "message"));
		assert_int_equal(status, 65);
		assert_non_null(message);
		assert_int_equal(json_integer_value(json_object_get(error, "code")), animal->code);
		if (strstr(message, animal->text) == NULL || strstr(message, animal->file) == NULL) {
			fail_msg("%s: '%s' lacks '%s'", animal->file, message, animal->text);
		}
		assert_string_equal(json_string_value(json_object_get(object, "path")), path);
	}
	json_decref(object);
}

static void test_opened_by_probe(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(zoo) / sizeof(zoo[0]); i++) {
		check_probe(&zoo[i]);
	}
}

/* The reason, once, as a line on standard error. */
static void test_probe_says_why(void **state)
{
	static const char *const files[] = {"no_note", "aborts_on_load"}, *const texts[] = {"no ABI note", "crashed while it was loaded"};
	const char *build = getenv("CWP_BUILDDIR");
	char path[4096], command[9000], line[2000], second[2000];

	(void)state;
	for (int i = 0; i < 2; i++) {
		path_of(files[i], path);
		snprintf(command, sizeof(command), "'%s/cwp-probe' '%s' 2>&1 >/dev/null", build != NULL ? build : ".", path);
		FILE *out = popen(command, "r");
		assert_non_null(out);
		assert_non_null(fgets(line, sizeof(line), out));
		assert_non_null(strstr(line, "cwp-probe: "));
		assert_non_null(strstr(line, texts[i]));
		assert_null(fgets(second, sizeof(second), out));
		assert_int_equal(WEXITSTATUS(pclose(out)), 65);
	}
}

static void test_probe_usage(void **state)
{
	char path[4096], text[16384];

	(void)state;
	assert_int_equal(run_probe(NULL, NULL, NULL, text, sizeof(text)), 64);
	assert_int_equal(run_probe("--no-such-option", NULL, NULL, text, sizeof(text)), 64);
	assert_int_equal(run_probe("--timeout", "-1", "x", text, sizeof(text)), 64);
	assert_int_equal(run_probe("--timeout", "1s", "x", text, sizeof(text)), 64);
	assert_int_equal(run_probe("a", "b", NULL, text, sizeof(text)), 64);
	assert_string_equal(text, "");
	assert_int_equal(run_probe("--help", NULL, NULL, text, sizeof(text)), 0);
	assert_non_null(strstr(text, "usage: cwp-probe"));
	assert_int_equal(run_probe("--version", NULL, NULL, text, sizeof(text)), 0);
	assert_non_null(strstr(text, "cwp-probe "));
	assert_int_equal(run_probe("/nonexistent/x.so", NULL, NULL, text, sizeof(text)), 65);
	assert_non_null(strstr(text, "No such file"));
	assert_int_equal(run_probe("/", NULL, NULL, text, sizeof(text)), 65);
	assert_int_equal(run_probe("/dev/null", NULL, NULL, text, sizeof(text)), 65);
	/* The owner is asked for only where it matters. */
	path_of("good", path);
	char folder[] = "/tmp/cwp-zoo-XXXXXX", link[64];
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chmod(folder, 0777), 0);
	snprintf(link, sizeof(link), "%s/good.so", folder);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(run_probe(link, NULL, NULL, text, sizeof(text)), 0);
	assert_int_equal(run_probe("--check-owner", link, NULL, text, sizeof(text)), 65);
	assert_non_null(strstr(text, "has mode 0777, so others may write to it"));
	assert_int_equal(chmod(folder, 0755), 0);
	int status = run_probe("--check-owner", link, NULL, text, sizeof(text));
	/* The build folder may itself be one that others can write to. */
	assert_true(status == 0 || (strstr(text, "has mode") != NULL && strstr(text, folder) != NULL));
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(folder), 0);
	/* Unguarded, what the plugin prints still stays out of the result. */
	path_of("prints_on_load", path);
	assert_int_equal(run_probe("--timeout", "0", path, text, sizeof(text)), 0);
	assert_null(strstr(text, "forged"));
	assert_non_null(strstr(text, "\"id\":\"prints\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opened_here),
		cmocka_unit_test(test_opened_by_probe),
		cmocka_unit_test(test_probe_says_why),
		cmocka_unit_test(test_probe_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
