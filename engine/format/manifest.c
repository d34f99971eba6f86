/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* manifest.json, written and verified. Files whose names begin with a dot (locks, unfinished files) are no part of an
 * output. */
#include "engine/format/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "engine/format/output_gguf.h"
#include "engine/format/shards.h"
#include "engine/format/writer_state.h"

#define MANIFEST "manifest.json"
#define MANIFEST_VERSION 1
#define MANIFEST_MAX (64u << 20)
#define CONFIG_MAX (16u << 20)
#define ADAPTER "adapter"
#define FILES_MAX 200000

/* ---- the files of a folder ---- */

struct names {
	char **name; /* "model.safetensors", "adapter/adapter_config.json" */
	size_t count, room;
};

static void names_free(struct names *n)
{
	size_t i;

	for (i = 0; i < n->count; i++)
		free(n->name[i]);
	free(n->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct names *n, const char *below, const char *name, struct cwb_err *err)
{
	char **larger;

	if (n->count == FILES_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "the output folder holds more than %d files", FILES_MAX);
	if (n->count == n->room) {
		n->room = n->room ? 2 * n->room : 32;
		larger = realloc(n->name, n->room * sizeof *larger);
		if (!larger)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", MANIFEST);
		n->name = larger;
	}
	if (asprintf(&n->name[n->count], "%s%s", below, name) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", MANIFEST);
	n->count++;
	return 0;
}

/* All regular files below an open folder; below is "" or "adapter/". */
static int list_folder(int folder, const char *sub, const char *below, struct names *ret, struct cwb_err *err)
{
	int fd = openat(folder, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	struct stat st;

	if (!dir) {
		rc = cwb_err_errno(err, "%s: cannot be read", sub);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (!rc && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || (!*below && !strcmp(e->d_name, MANIFEST)))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			rc = cwb_err_errno(err, "%s%s: cannot be looked at", below, e->d_name);
		else if (S_ISREG(st.st_mode))
			rc = add_name(ret, below, e->d_name, err);
		else if (S_ISDIR(st.st_mode) && !*below && !strcmp(e->d_name, ADAPTER))
			rc = list_folder(folder, ADAPTER, ADAPTER "/", ret, err);
		else
			rc = cwb_err_set(err, CWP_EFORMAT, "%s%s: is neither a file of an output nor its folder \"adapter\": remove it",
				below, e->d_name);
	}
	closedir(dir);
	return rc;
}

static int list_files(int folder, struct names *ret, struct cwb_err *err)
{
	int rc = list_folder(folder, ".", "", ret, err);

	if (!rc && ret->count)
		qsort(ret->name, ret->count, sizeof *ret->name, by_name);
	return rc;
}

/* content_digest is about what engines load: reports hold times, the model card is for people, and a mask beside a dense
 * checkpoint for later jobs. */
static int is_content(const char *name)
{
	return strncmp(name, "report.", 7) != 0 && strcmp(name, "README.md") != 0 && strcmp(name, CWE_MASK_FILE) != 0 &&
		strcmp(name, CWE_OUTCOMES_FILE) != 0;
}

/* files: name -> {size, sha256}, taken in name order. */
static int content_digest(const json_t *files, char ret_hex[CWB_DIGEST_HEX], struct cwb_err *err)
{
	size_t n = json_object_size(files), i = 0;
	const char **name = calloc(n + 1, sizeof *name);
	struct cwb_digest d;
	const char *key;
	json_t *file;
	int rc = name ? cwb_digest_begin(&d) : -ENOMEM;

	if (rc) {
		free(name);
		return cwb_err_set(err, rc, "content_digest: out of memory");
	}
	json_object_foreach ((json_t *)files, key, file)
		name[i++] = key;
	if (n)
		qsort(name, n, sizeof *name, by_name);
	for (i = 0; i < n; i++) {
		const char *sha = json_string_value(json_object_get(json_object_get(files, name[i]), "sha256"));

		if (!is_content(name[i]))
			continue;
		cwb_digest_update(&d, sha, strlen(sha));
		cwb_digest_update(&d, "  ", 2);
		cwb_digest_update(&d, name[i], strlen(name[i]));
		cwb_digest_update(&d, "\n", 1);
	}
	free(name);
	rc = cwb_digest_end_hex(&d, ret_hex);
	return rc ? cwb_err_set(err, rc, "content_digest: out of memory") : 0;
}

/* ---- writing ---- */

static int open_regular(int folder, const char *name, struct cwb_err *err)
{
	struct stat st;
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return cwb_err_errno(err, "%s: cannot be opened", name);
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return cwb_err_set(err, CWP_EFORMAT, "%s: is not a regular file", name);
}

static int digest_of(int fd, const char *name, struct cwb_known *known, char ret_hex[CWB_DIGEST_HEX], uint64_t *ret_size,
	struct cwb_err *err)
{
	struct cwb_known_file file;
	struct stat st;

	if (fstat(fd, &st))
		return cwb_err_errno(err, "%s: cannot be looked at", name);
	cwb_known_identify(&st, &file);
	*ret_size = file.size;
	if (known && cwb_known_find(known, &file, ret_hex))
		return 0;
	return cwb_digest_fd(fd, name, NULL, NULL, ret_hex, ret_size, err);
}

/* Adds one file's facts, its bytes brought to the disk. */
static int add_file(int folder, const char *name, struct cwb_known *known, json_t *files, struct cwb_err *err)
{
	char hex[CWB_DIGEST_HEX];
	uint64_t size = 0;
	int fd = open_regular(folder, name, err), rc;

	if (fd < 0)
		return fd;
	rc = digest_of(fd, name, known, hex, &size, err);
	if (!rc && fsync(fd))
		rc = cwb_err_errno(err, "%s: could not be brought to the disk", name);
	close(fd);
	if (!rc && json_object_set_new(files, name, json_pack("{s:I, s:s}", "size", (json_int_t)size, "sha256", hex)))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: its name cannot be written in JSON: rename it", name);
	return rc;
}

static int write_manifest(int folder, const json_t *facts, json_t *files, char ret_digest[CWB_DIGEST_HEX],
	struct cwb_err *err)
{
	json_t *manifest = json_pack("{s:i}", "manifest", MANIFEST_VERSION);
	struct cwe_texts texts;
	int rc = content_digest(files, ret_digest, err);

	cwe_texts_begin(&texts, folder);
	if (!rc && (!manifest || json_object_update(manifest, (json_t *)facts) || json_object_set(manifest, "files", files) ||
			   json_object_set_new(manifest, "manifest", json_integer(MANIFEST_VERSION)) ||
			   json_object_set_new(manifest, "content_digest", json_string(ret_digest))))
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", MANIFEST);
	if (!rc)
		rc = cwe_texts_add_json(&texts, MANIFEST, manifest, err);
	if (!rc)
		rc = cwe_texts_commit(&texts, err);
	cwe_texts_abort(&texts);
	json_decref(manifest);
	return rc;
}

int cwe_manifest_write(const char *directory, const json_t *facts, char ret_content_digest[65], struct cwb_err *err)
{
	return cwe_manifest_write_known(directory, facts, NULL, ret_content_digest, err);
}

int cwe_manifest_write_known(const char *directory, const json_t *facts, struct cwb_known *known, char ret_content_digest[65],
	struct cwb_err *err)
{
	int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	struct names names = {0};
	char digest[CWB_DIGEST_HEX];
	json_t *files = json_object();
	size_t i;

	if (folder < 0) {
		json_decref(files);
		return cwb_err_errno(err, "%s: the output folder cannot be opened", directory);
	}
	rc = list_files(folder, &names, err);
	for (i = 0; i < names.count && !rc; i++)
		rc = add_file(folder, names.name[i], known, files, err);
	if (!rc)
		rc = cwb_file_sync_folder(folder, directory, err);
	if (!rc)
		rc = write_manifest(folder, facts, files, digest, err);
	if (!rc) {
		(void)unlinkat(folder, CWE_WRITER_JOURNAL, 0);
		(void)unlinkat(folder, CWE_WRITER_PIECES, 0);
		memcpy(ret_content_digest, digest, sizeof digest);
	}
	names_free(&names);
	json_decref(files);
	close(folder);
	return rc;
}

/* ---- verifying ---- */

/* A plain name, or one below adapter/. */
static int is_plain(const char *name)
{
	if (!strncmp(name, ADAPTER "/", sizeof ADAPTER))
		name += sizeof ADAPTER;
	return *name && *name != '.' && !strchr(name, '/') && strcmp(name, MANIFEST) != 0;
}

/* What is wrong in the manifest is a matter of its format, whatever the getter said. */
static int bad_manifest(struct cwb_err *err, const char *file)
{
	if (!err)
		return CWP_EFORMAT;
	if (file)
		cwb_err_prefix(err, "%s: files: \"%.80s\"", MANIFEST, file);
	else
		cwb_err_prefix(err, "%s", MANIFEST);
	err->code = CWP_EFORMAT;
	return CWP_EFORMAT;
}

static int check_entry(const char *name, const json_t *file, struct cwb_err *err)
{
	const char *sha = NULL;
	uint64_t size = 0;
	int rc;

	if (!is_plain(name))
		return cwb_err_set(err, CWP_EFORMAT, "%s: files: \"%.80s\" is not a name of a file in an output", MANIFEST, name);
	rc = json_is_object(file) ? cwb_json_get_string(file, "sha256", CWB_JSON_REQUIRED, &sha, err) :
				    cwb_err_set(err, CWP_EFORMAT, "is no object");
	if (!rc)
		rc = cwb_json_get_u64(file, "size", CWB_JSON_REQUIRED, 0, INT64_MAX, &size, err);
	if (!rc && !cwb_digest_is_hex(sha))
		rc = cwb_err_set(err, CWP_EFORMAT, "sha256 is no digest");
	if (rc)
		return bad_manifest(err, name);
	return 0;
}

static int check_file(int folder, const char *name, const json_t *file, struct cwb_err *err)
{
	uint64_t size = (uint64_t)json_integer_value(json_object_get(file, "size")), found = 0;
	const char *sha = json_string_value(json_object_get(file, "sha256"));
	char hex[CWB_DIGEST_HEX] = "";
	struct stat st;
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc;

	if (fd < 0 && errno == ENOENT)
		return cwb_err_set(err, CWP_EMISSING, "%s: the file is missing: run the job again", name);
	if (fd < 0)
		return cwb_err_errno(err, "%s: cannot be opened", name);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: is not a regular file", name);
	else if ((uint64_t)st.st_size != size)
		rc = cwb_err_set(err, CWP_EDIGEST, "%s: has %" PRIu64 " bytes, the manifest says %" PRIu64 ": run the job again", name,
			(uint64_t)st.st_size, size);
	else
		rc = cwb_digest_fd(fd, name, NULL, NULL, hex, &found, err);
	close(fd);
	if (!rc && (found != size || strcmp(hex, sha) != 0))
		rc = cwb_err_set(err, CWP_EDIGEST, "%s: its bytes are not those that were written: run the job again", name);
	return rc;
}

/* manifest.json itself: version, every entry, content_digest. *ret_files is borrowed. */
static int check_manifest(const json_t *manifest, json_t **ret_files, struct cwb_err *err)
{
	char hex[CWB_DIGEST_HEX];
	const char *digest = NULL, *name;
	uint64_t version = 0;
	json_t *file;
	int rc;

	if (!json_is_object(manifest))
		return cwb_err_set(err, CWP_EFORMAT, "%s: is no object", MANIFEST);
	rc = cwb_json_get_u64(manifest, "manifest", CWB_JSON_REQUIRED, 0, INT64_MAX, &version, err);
	if (!rc)
		rc = cwb_json_get_object(manifest, "files", CWB_JSON_REQUIRED, ret_files, err);
	if (!rc)
		rc = cwb_json_get_string(manifest, "content_digest", CWB_JSON_REQUIRED, &digest, err);
	if (rc)
		return bad_manifest(err, NULL);
	if (version != MANIFEST_VERSION)
		return cwb_err_set(err, CWP_EFORMAT, "%s: version %" PRIu64 " is not known (known: %d): verify with a newer release",
			MANIFEST, version, MANIFEST_VERSION);
	json_object_foreach (*ret_files, name, file) {
		rc = check_entry(name, file, err);
		if (rc)
			return rc;
	}
	rc = content_digest(*ret_files, hex, err);
	if (!rc && strcmp(hex, digest) != 0)
		rc = cwb_err_set(err, CWP_EDIGEST, "%s: content_digest does not fit its files: run the job again", MANIFEST);
	return rc;
}

static int check_files(int folder, const json_t *files, struct cwb_err *err)
{
	struct names names = {0};
	const char *name;
	json_t *file;
	size_t i;
	int rc = list_files(folder, &names, err);

	for (i = 0; i < names.count && !rc; i++)
		if (!json_object_get(files, names.name[i]))
			rc = cwb_err_set(err, CWP_EFORMAT, "%s: the manifest does not know this file: remove it", names.name[i]);
	names_free(&names);
	if (rc)
		return rc;
	json_object_foreach ((json_t *)files, name, file) {
		rc = check_file(folder, name, file, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int check_structure(const char *directory, int folder, struct cwb_err *err)
{
	json_t *config = NULL;
	char *path;
	int rc;

	if (cwe_output_gguf_is(directory))
		return cwe_output_gguf_check(directory, err);
	if (faccessat(folder, "config.json", F_OK, 0))
		return cwb_err_set(err, CWP_EMISSING, "%s: config.json is missing: run the job again", directory);
	if (asprintf(&path, "%s/config.json", directory) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	rc = cwb_json_load_file(path, CONFIG_MAX, CWB_JSON_DEPTH, &config, err);
	free(path);
	if (!rc)
		rc = cwe_output_check(directory, config, err);
	json_decref(config);
	return rc;
}

static int load(const char *directory, json_t **ret, struct cwb_err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/%s", directory, MANIFEST) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	if (access(path, F_OK) && errno == ENOENT)
		rc = cwb_err_set(err, CWP_EMISSING, "%s: there is no manifest.json, so the output is unfinished: run the job again",
			directory);
	else
		rc = cwb_json_load_file(path, MANIFEST_MAX, CWB_JSON_DEPTH, ret, err);
	free(path);
	return rc;
}

int cwe_manifest_verify(const char *directory, json_t **ret_manifest, struct cwb_err *err)
{
	json_t *manifest = NULL, *files = NULL;
	int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (folder < 0)
		return cwb_err_errno(err, "%s: cannot be opened", directory);
	rc = load(directory, &manifest, err);
	if (!rc)
		rc = check_manifest(manifest, &files, err);
	if (!rc)
		rc = check_files(folder, files, err);
	if (!rc)
		rc = check_structure(directory, folder, err);
	close(folder);
	if (rc || !ret_manifest)
		json_decref(manifest);
	else
		*ret_manifest = manifest;
	return rc;
}
