/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests of everything that a job reads: the identity of a run, and the manifest's proof of what went in. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/digest.h"
#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/pipeline/inputs_digest.h"
#include "engine/pipeline/masks.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

static int is_listed(const struct cwe_run *run, const char *path)
{
	return json_object_get(run->inputs, path) != NULL;
}

static int list(struct cwe_run *run, const struct cwe_input_file *in, struct cwb_err *err)
{
	return json_object_set_new(run->inputs, in->path, json_pack("{s:I,s:s}", "size", (json_int_t)in->size, "sha256", in->hex)) == 0 ? 0
		: cwb_err_set(err, CWP_EVALUE, "%s: the path cannot be listed: its name is not UTF-8, or memory is short", in->path);
}

static int add_file(struct cwe_run *run, const char *path, struct cwb_err *err)
{
	struct cwe_input_file in = {.path = (char *)(uintptr_t)path};
	int r = is_listed(run, path) ? 1 : cwe_inputs_digest(run, &in, 1, err);
	return r == 0 ? list(run, &in, err) : r == 1 ? 0 : r;
}

/* All that are not listed yet, in their order. */
static int add_files(struct cwe_run *run, char *const *path, size_t n, struct cwb_err *err)
{
	struct cwe_input_file *in = calloc(n + 1, sizeof *in);
	size_t count = 0;
	for (size_t i = 0; in != NULL && i < n; i++) {
		in[count].path = path[i];
		count += !is_listed(run, path[i]);
	}
	int r = in != NULL ? cwe_inputs_digest(run, in, count, err) : cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = list(run, &in[i], err);
	}
	free(in);
	return r;
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);
	return n >= k && strcmp(name + n - k, suffix) == 0;
}

/* What the model is made of: weights, index, configuration, tokenizer. */
static int is_model_file(const char *name)
{
	return has_suffix(name, ".safetensors") || has_suffix(name, ".json") || has_suffix(name, ".jinja");
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_folder(struct cwe_run *run, const char *path, struct cwb_err *err)
{
	DIR *dir = opendir(path);
	char **name = NULL;
	size_t n = 0;
	int r = dir != NULL ? 0 : cwb_err_errno(err, "%s", path);
	for (struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
		if (!is_model_file(e->d_name)) {
			continue;
		}
		char **more = realloc(name, (n + 1) * sizeof *name);
		if (more == NULL) {
			r = cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
		} else {
			name = more;
			if (asprintf(&name[n], "%s/%s", path, e->d_name) < 0) {
				r = cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
			} else {
				n++;
			}
		}
	}
	if (r == 0 && n > 0) {
		qsort(name, n, sizeof *name, compare);
		r = add_files(run, name, n, err);
	}
	for (size_t i = 0; i < n; i++) {
		free(name[i]);
	}
	free(name);
	if (dir != NULL) {
		(void)closedir(dir);
	}
	return r;
}

/* Of an adapter's folder only the two files that are merged count. */
static int add_adapter(struct cwe_run *run, const char *folder, struct cwb_err *err)
{
	static const char *const name[] = {CWE_ADAPTER_CONFIG_FILE, CWE_ADAPTER_WEIGHTS_FILE};
	int r = 0;
	for (size_t i = 0; r == 0 && i < sizeof name / sizeof *name; i++) {
		char *path;
		if (asprintf(&path, "%s/%s", folder, name[i]) < 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
		}
		r = add_file(run, path, err);
		free(path);
	}
	return r;
}

static int add_model(struct cwe_run *run, const char *what, const char *path, struct cwb_err *err)
{
	struct stat st;
	if (stat(path, &st) != 0) {
		return cwb_err_errno(err, "%s: %s", what, path);
	}
	return S_ISDIR(st.st_mode) ? add_folder(run, path, err) : add_file(run, path, err);
}

static int add_evaluation(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err)
{
	int r = add_file(run, job->path, err);
	return r == 0 && job->judge != NULL ? add_model(run, "judge", job->judge, err) : r;
}

/* What the evaluators said when they were looked at. */
static int add_read(struct cwe_run *run, struct cwb_err *err)
{
	const char *path;
	json_t *value;
	int r = 0;
	json_object_foreach(run->read, path, value) {
		r = r == 0 ? add_file(run, path, err) : r;
	}
	return r;
}

static int add_inputs(struct cwe_run *run, struct cwb_err *err)
{
	run->inputs = json_object();
	if (run->inputs == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
	}
	int r = add_model(run, "model", run->job->model, err);
	if (r == 0 && run->job->chat.format != NULL && run->job->chat.format[0] == '/') {
		r = add_file(run, run->job->chat.format, err);
	}
	for (size_t i = 0; r == 0 && i < run->job->n_adapters; i++) {
		r = add_adapter(run, run->job->adapters[i], err);
	}
	r = r == 0 ? cwe_run_masks_inputs(run, add_file, err) : r;
	for (size_t i = 0; r == 0 && i < run->job->n_sets; i++) {
		r = add_file(run, run->job->sets[i].path, err);
	}
	for (size_t i = 0; r == 0 && i < run->job->n_evaluations; i++) {
		r = add_evaluation(run, &run->job->evaluations[i], err);
	}
	return r == 0 ? add_read(run, err) : r;
}

/* The folder of the cache keeps the digests of inputs too. Without one, or with one that cannot be used, all are read. */
static int open_known(struct cwe_run *run)
{
	struct cwb_cache cache = {.folder = -1};
	if (run->p->cache != NULL && run->p->cache_size > 0 && cwb_cache_open(run->p->cache, run->p->cache_size, 0, &cache, NULL) == 0) {
		cwb_known_read(&run->known, cache.folder);
	}
	return cache.folder;
}

static void close_known(struct cwe_run *run, int folder)
{
	struct cwb_err problem = {0};
	const struct cwp_host *host = &run->p->host->table;
	if (folder >= 0) {
		if (cwb_known_write(&run->known, folder, &problem) != 0) {
			host->log(host->ctx, CWP_LOG_INFO, problem.message); /* files are only read again */
		}
		(void)close(folder);
	}
	cwb_known_clear(&run->known);
}

int cwe_run_inputs(struct cwe_run *run, struct cwb_err *err)
{
	char job[65];
	int folder = open_known(run);
	int r = add_inputs(run, err);
	close_known(run, folder);
	if (r != 0) {
		return r;
	}
	if ((r = cwj_job_digest(run->job, job)) != 0) {
		return cwb_err_set(err, r, "digest of the job's inputs");
	}
	/* Another backend, another tier of it, another precision or cut may differ in the last bits: its scores are not to be mixed. */
	json_t *all = json_pack("{s:s,s:i,s:O,s:s,s:i,s:I}", "job", job, "tiles", CWE_TILES_FORM, "inputs", run->inputs, "backend",
		run->device.ops->describe(run->device.b), "precision", (int)run->device.precision, "piece", (json_int_t)run->piece);
	size_t length = 0;
	char *text = all != NULL ? cwb_json_dump(all, &length) : NULL;
	json_decref(all);
	r = text != NULL ? cwb_digest_buffer(text, length, run->identity) : -ENOMEM;
	free(text);
	return r == 0 ? 0 : cwb_err_set(err, r, "digest of the job's inputs");
}
