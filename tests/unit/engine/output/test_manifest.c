/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* manifest.json: what it says, and every way in which a folder does not fit it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "engine/format/manifest.h"
#include "tests/unit/engine/output/toy.h"

struct world {
	char *model, *out;
	char digest[65];
};

static void put(const char *folder, const char *name, const void *data, size_t length)
{
	char *path = toy_path(folder, name);

	toy_put(path, data, length);
	free(path);
}

static void write_manifest(struct world *x)
{
	json_t *facts = json_pack("{s:s, s:i, s:s}", "job_digest", "abc", "seed", 7, "files", "overwritten");
	struct cwb_err err = {0};

	if (cwe_manifest_write(x->out, facts, x->digest, &err))
		fail_msg("%s", err.message);
	json_decref(facts);
}

static void begin(struct world *x)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_writer_options o = {NULL, CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, 8000};
	struct cwe_source *s;
	struct toy_result r;
	struct cwb_err err = {0};

	x->model = toy_folder();
	x->out = toy_folder();
	toy_model(x->model, CWP_BF16);
	assert_int_equal(cwe_source_open(x->model, 0, &s, &err), 0);
	toy_quantize(s, toy_modules[1], &grid, 0.05, 1, &r);
	o.directory = x->out;
	toy_write(s, &o, &r, 1);
	toy_result_free(&r);
	cwe_source_close(s);
	put(x->out, "report.json", "{}", 2);
	put(x->out, ".lock", "", 0); /* hidden files are no part */
	write_manifest(x);
}

static void end(struct world *x)
{
	toy_remove(x->model);
	toy_remove(x->out);
	free(x->model);
	free(x->out);
}

static void expect(struct world *x, int code, const char *text)
{
	struct cwb_err err = {0};
	int rc = cwe_manifest_verify(x->out, NULL, &err);

	if (rc != code || (text && !strstr(err.message, text)))
		fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.message, code, text ? text : "");
	assert_int_equal(err.code, rc);
}

static void test_written(void **state)
{
	struct world x;
	struct cwb_err err = {0};
	json_t *manifest, *files, *entry;
	char hex[65], *line, *text;
	struct cwb_digest d;
	const char *name;
	size_t length, i = 0, n;
	const char *names[32];

	(void)state;
	begin(&x);
	assert_int_equal(cwe_manifest_verify(x.out, &manifest, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(manifest, "seed")), 7);
	files = json_object_get(manifest, "files");
	assert_non_null(json_object_get(files, "config.json"));
	assert_non_null(json_object_get(files, "protected.safetensors"));
	assert_non_null(json_object_get(files, "report.json"));
	assert_non_null(json_object_get(files, "model.safetensors.index.json"));
	assert_null(json_object_get(files, "manifest.json"));
	assert_null(json_object_get(files, ".lock"));
	text = toy_read(x.out, "config.json", &length);
	assert_int_equal(cwb_digest_buffer(text, length, hex), 0);
	free(text);
	entry = json_object_get(files, "config.json");
	assert_string_equal(json_string_value(json_object_get(entry, "sha256")), hex);
	assert_int_equal(json_integer_value(json_object_get(entry, "size")), length);
	/* content_digest, made again from its definition; jansson keeps the order of writing, which is that of names */
	assert_int_equal(cwb_digest_begin(&d), 0);
	json_object_foreach (files, name, entry)
		names[i++] = name;
	for (n = i, i = 0; i < n; i++) {
		assert_true(!i || strcmp(names[i - 1], names[i]) < 0);
		if (!strcmp(names[i], "report.json"))
			continue;
		assert_true(asprintf(&line, "%s  %s\n", json_string_value(json_object_get(json_object_get(files, names[i]), "sha256")),
				    names[i]) > 0);
		cwb_digest_update(&d, line, strlen(line));
		free(line);
	}
	assert_int_equal(cwb_digest_end_hex(&d, hex), 0);
	assert_string_equal(hex, x.digest);
	assert_string_equal(json_string_value(json_object_get(manifest, "content_digest")), hex);
	json_decref(manifest);
	end(&x);
}

/* Reports do not count; the rest does. */
static void test_content_digest(void **state)
{
	struct world x;
	char first[65];

	(void)state;
	begin(&x);
	memcpy(first, x.digest, sizeof first);
	put(x.out, "report.json", "{\"seconds\": 3}", 14);
	put(x.out, "report.html", "<p>", 3);
	expect(&x, CWP_EFORMAT, "report.html");
	write_manifest(&x);
	assert_string_equal(first, x.digest);
	expect(&x, 0, NULL);
	put(x.out, "generation_config.json", "{}", 2);
	write_manifest(&x);
	assert_string_not_equal(first, x.digest);
	end(&x);
}

static void test_adapter(void **state)
{
	struct world x;
	char *path, first[65];

	(void)state;
	begin(&x);
	memcpy(first, x.digest, sizeof first);
	path = toy_path(x.out, "adapter");
	assert_int_equal(mkdir(path, 0777), 0);
	put(x.out, "adapter/beside.json", "{}", 2);
	expect(&x, CWP_EFORMAT, "adapter/beside.json");
	write_manifest(&x);
	assert_string_not_equal(first, x.digest);
	expect(&x, 0, NULL);
	put(x.out, "adapter/beside.json", "[]", 2);
	expect(&x, CWP_EDIGEST, "adapter/beside.json");
	free(path);
	end(&x);
}

static void test_changed_files(void **state)
{
	struct world x;
	char *data, *path;
	size_t length;

	(void)state;
	begin(&x);
	data = toy_read(x.out, "protected.safetensors", &length);
	data[length - 1] ^= 1;
	put(x.out, "protected.safetensors", data, length);
	expect(&x, CWP_EDIGEST, "protected.safetensors");
	put(x.out, "protected.safetensors", data, length - 1);
	expect(&x, CWP_EDIGEST, "bytes");
	path = toy_path(x.out, "protected.safetensors");
	assert_int_equal(unlink(path), 0);
	expect(&x, CWP_EMISSING, "protected.safetensors");
	assert_int_equal(symlink("config.json", path), 0);
	expect(&x, CWP_EFORMAT, "protected.safetensors");
	assert_int_equal(unlink(path), 0);
	data[length - 1] ^= 1;
	put(x.out, "protected.safetensors", data, length);
	expect(&x, 0, NULL);
	put(x.out, "model-00009-of-00009.safetensors", data, length);
	expect(&x, CWP_EFORMAT, "model-00009-of-00009.safetensors");
	free(path);
	path = toy_path(x.out, "model-00009-of-00009.safetensors");
	assert_int_equal(unlink(path), 0);
	free(path);
	path = toy_path(x.out, "more");
	assert_int_equal(mkdir(path, 0777), 0);
	expect(&x, CWP_EFORMAT, "more");
	assert_int_equal(rmdir(path), 0);
	free(path);
	path = toy_path(x.out, "manifest.json");
	assert_int_equal(unlink(path), 0);
	expect(&x, CWP_EMISSING, "unfinished");
	free(path);
	free(data);
	end(&x);
}

/* Files that fit the manifest but not each other: structure is checked too. */
static void test_structure(void **state)
{
	struct world x;
	char *data, *path;
	size_t length;

	(void)state;
	begin(&x);
	data = toy_read(x.out, "config.json", &length);
	*strstr(data, "compressed\"") = 'x';
	put(x.out, "config.json", data, length);
	write_manifest(&x);
	expect(&x, CWP_EVALUE, "quantization_status");
	free(data);
	path = toy_path(x.out, "config.json");
	assert_int_equal(unlink(path), 0);
	write_manifest(&x);
	expect(&x, CWP_EMISSING, "config.json");
	free(path);
	end(&x);
}

static void expect_text(struct world *x, const char *text, int code, const char *message)
{
	put(x->out, "manifest.json", text, strlen(text));
	expect(x, code, message);
}

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_bad_manifests(void **state)
{
	struct world x;
	char *deep = calloc(1, 4096);
	json_t *manifest;
	char *text;

	(void)state;
	begin(&x);
	text = toy_read(x.out, "manifest.json", NULL);
	expect_text(&x, "", CWP_EFORMAT, NULL);
	expect_text(&x, "not JSON", CWP_EFORMAT, NULL);
	expect_text(&x, "[]", CWP_EFORMAT, "object");
	expect_text(&x, "{}", CWP_EFORMAT, "manifest");
	expect_text(&x, "{\"manifest\": 2, \"files\": {}, \"content_digest\": \"\"}", CWP_EFORMAT, "version 2");
	expect_text(&x, "{\"manifest\": 1, \"files\": [], \"content_digest\": \"\"}", CWP_EFORMAT, "files");
	expect_text(&x, "{\"manifest\": 1, \"files\": {}}", CWP_EFORMAT, "content_digest");
	expect_text(&x, "{\"manifest\": 1, \"files\": {}, \"content_digest\": \"\"}", CWP_EDIGEST, "content_digest");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"a\": 1}, \"content_digest\": \"\"}", CWP_EFORMAT, "\"a\"");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"a\": {\"size\": 1, \"sha256\": \"0\"}}, \"content_digest\": \"\"}", CWP_EFORMAT,
		"sha256");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"a\": {\"size\": -1, \"sha256\": \"" SHA "\"}}, \"content_digest\": \"\"}",
		CWP_EFORMAT, "size");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"../a\": {\"size\": 1, \"sha256\": \"" SHA "\"}}, \"content_digest\": \"\"}",
		CWP_EFORMAT, "../a");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"/etc/passwd\": {\"size\": 1, \"sha256\": \"" SHA "\"}}, \"content_digest\": \"\"}",
		CWP_EFORMAT, "/etc/passwd");
	expect_text(&x, "{\"manifest\": 1, \"files\": {\"adapter/../../a\": {\"size\": 1, \"sha256\": \"" SHA
			"\"}}, \"content_digest\": \"\"}",
		CWP_EFORMAT, "adapter/../../a");
	memset(deep, '[', 4000);
	expect_text(&x, deep, CWP_ELIMIT, NULL);
	manifest = json_loads(text, 0, NULL); /* a true one with one digest changed */
	json_object_set_new(json_object_get(json_object_get(manifest, "files"), "config.json"), "sha256", json_string(SHA));
	free(text);
	text = json_dumps(manifest, 0);
	expect_text(&x, text, CWP_EDIGEST, "content_digest");
	json_decref(manifest);
	free(text);
	free(deep);
	end(&x);
}

/* Any byte of the manifest changed: refused, or (in the facts) taken, never a crash. */
static void test_damage(void **state)
{
	struct world x;
	char *text;
	size_t length, i, refused = 0;

	(void)state;
	begin(&x);
	text = toy_read(x.out, "manifest.json", &length);
	for (i = 0; i < length; i++) {
		struct cwb_err err = {0};

		text[i] = (char)(text[i] ^ (i % 2 ? 0x01 : 0x80));
		put(x.out, "manifest.json", text, length);
		refused += cwe_manifest_verify(x.out, NULL, &err) != 0;
		text[i] = (char)(text[i] ^ (i % 2 ? 0x01 : 0x80));
	}
	assert_true(refused > length * 8 / 10);
	free(text);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_content_digest),
		cmocka_unit_test(test_adapter),
		cmocka_unit_test(test_changed_files),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_bad_manifests),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
