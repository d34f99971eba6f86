/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A dense checkpoint made of any model that can be opened: the values that the engine computes with, as F32 or BF16. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/output.h"
#include "engine/format/shards.h"

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "dense checkpoint: out of memory");
}

/* Makes the folder, or takes one that is empty. */
static int open_folder(const char *path, int *ret_made, int *ret_fd, struct cwb_err *err)
{
	const struct dirent *e;
	DIR *dir;
	int rc = 0;

	*ret_made = mkdir(path, 0777) == 0;
	if (!*ret_made && errno != EEXIST)
		return cwb_err_errno(err, "%s: cannot be made", path);
	dir = opendir(path);
	if (!dir)
		return cwb_err_errno(err, "%s: cannot be opened", path);
	while (!rc && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = cwb_err_set(err, CWP_ESTATE, "%s: the folder is not empty: choose another", path);
	if (!rc) {
		*ret_fd = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 3);
		if (*ret_fd < 0)
			rc = cwb_err_errno(err, "%s: cannot be opened", path);
	}
	closedir(dir);
	return rc;
}

static int begin_shards(struct cwe_source *s, int folder, enum cwe_dtype dtype, uint64_t limit, struct cwe_shards **ret,
	struct cwb_err *err)
{
	size_t n = s->weights->count, i;
	struct cwe_safetensors_plan *plan = calloc(n + 1, sizeof *plan);
	size_t *unit = calloc(n + 1, sizeof *unit);
	int rc, kept;

	for (i = 0; plan && unit && i < n; i++) {
		const struct cwe_tensor *t = &s->weights->tensors[i];

		unit[i] = i;
		plan[i] = (struct cwe_safetensors_plan){.name = t->name, .dtype = dtype, .rank = t->rank};
		memcpy(plan[i].shape, t->shape, t->rank * sizeof *t->shape);
	}
	rc = plan && unit ? cwe_shards_new(folder, 0, plan, unit, n, limit, ret, &kept, err) : nomem(err);
	free(plan);
	free(unit);
	return rc;
}

static int copy_tensor(struct cwe_source *s, struct cwe_shards *to, size_t i, uint32_t dtype, struct cwb_err *err)
{
	const struct cwe_tensor *t = &s->weights->tensors[i];
	uint64_t rows = t->rank ? t->shape[0] : 1, cols = 1, step, row, n;
	size_t size = cwe_cwp_dtype_size(dtype);
	float *value;
	uint8_t *raw;
	uint32_t d;
	int rc;

	for (d = 1; d < t->rank; d++)
		cols *= t->shape[d];
	step = cols ? (1u << 20) / cols + 1 : 1;
	value = malloc(step * cols * sizeof *value + 1);
	raw = malloc(step * cols * size + 1);
	rc = value && raw ? 0 : nomem(err);
	for (row = 0; row < rows && !rc; row += n) {
		n = rows - row < step ? rows - row : step;
		rc = cwe_weights_read_f32(s->weights, t, row, n, value, err);
		if (rc)
			break;
		cwe_f32_to_dtype(raw, value, dtype, n * cols);
		rc = cwe_shards_write(to, i, row * cols * size, raw, n * cols * size, err);
	}
	free(value);
	free(raw);
	return rc;
}

/* The source's configuration without quantization, with the new dtype under the key that it used. */
static int add_config(struct cwe_source *s, struct cwe_texts *texts, uint32_t dtype, struct cwb_err *err)
{
	const char *name = dtype == CWP_F32 ? "float32" : "bfloat16";
	json_t *config = json_copy(s->config);
	int rc = 0;

	if (!config)
		return nomem(err);
	json_object_del(config, "quantization_config");
	if (json_object_get(config, "torch_dtype"))
		rc = json_object_set_new(config, "torch_dtype", json_string(name));
	if (!rc && (json_object_get(config, "dtype") || !json_object_get(config, "torch_dtype")))
		rc = json_object_set_new(config, "dtype", json_string(name));
	rc = rc ? nomem(err) : cwe_texts_add_json(texts, "config.json", config, err);
	json_decref(config);
	return rc;
}

static int write_all(struct cwe_source *s, struct cwe_shards *shards, struct cwe_texts *texts, uint32_t dtype,
	struct cwb_err *err)
{
	json_t *index = NULL;
	size_t i;
	int rc = 0;

	for (i = 0; i < s->weights->count && !rc; i++)
		rc = copy_tensor(s, shards, i, dtype, err);
	if (!rc)
		rc = cwe_texts_add_source(texts, s, err);
	if (!rc)
		rc = cwe_shards_index(shards, &index, err);
	if (!rc && index)
		rc = cwe_texts_add_json(texts, "model.safetensors.index.json", index, err);
	json_decref(index);
	if (!rc)
		rc = add_config(s, texts, dtype, err);
	if (!rc)
		rc = cwe_shards_publish(shards, err);
	if (rc)
		return rc;
	rc = cwe_texts_commit(texts, err);
	if (rc)
		cwe_shards_unpublish(shards);
	return rc;
}

int cwe_output_dense(const char *directory, const char *out, uint32_t dtype, uint64_t shard, struct cwb_err *err)
{
	return cwe_source_dense(directory, NULL, 0, out, dtype, shard, err);
}

int cwe_source_dense(const char *model, char *const *adapters, size_t n, const char *out, uint32_t dtype, uint64_t shard,
	struct cwb_err *err)
{
	struct cwe_shards *shards = NULL;
	struct cwe_source *s = NULL;
	struct cwe_texts texts;
	int folder = -1, made = 0, rc;

	cwe_texts_begin(&texts, -1);
	if (dtype != CWP_F32 && dtype != CWP_BF16)
		return cwb_err_set(err, CWP_EVALUE, "a dense checkpoint is of f32 or bf16");
	rc = cwe_source_open(model, 0, &s, err);
	if (!rc)
		rc = cwe_source_adapt(s, adapters, n, err);
	if (!rc)
		rc = open_folder(out, &made, &folder, err);
	if (rc)
		goto out;
	cwe_texts_begin(&texts, folder);
	rc = begin_shards(s, folder, dtype == CWP_F32 ? CWE_DTYPE_F32 : CWE_DTYPE_BF16, shard, &shards, err);
	if (!rc)
		rc = write_all(s, shards, &texts, dtype, err);
	if (rc && shards)
		cwe_shards_discard(shards);
out:
	cwe_texts_abort(&texts);
	cwe_shards_free(shards);
	if (folder >= 0)
		close(folder);
	if (rc && made)
		(void)rmdir(out);
	cwe_source_close(s);
	return rc;
}
