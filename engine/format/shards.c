/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cutting a checkpoint into files, and giving them their names together. */
#include "engine/format/shards.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/follow.h"
#include "engine/format/partial.h"

struct cwe_shards {
	int folder;
	size_t count;
	char **name;   /* [count] of tensors */
	size_t *shard; /* [count] */
	size_t *number; /* [count] within the file */
	uint64_t total;
	uint64_t bytes; /* of the files, when measured */
	size_t n_shards;
	char **file; /* [n_shards] */
	struct cwe_safetensors_writer **writer;
	atomic_int *dirty; /* [n_shards] written to since it was synced */
	char *done;        /* [count] of tensors: its bytes may be in a digest */
	struct cwe_follow *follow; /* NULL without digests */
};

/* Gives each tensor its file: a new one begins with the unit that would pass the limit. */
static int cut(struct cwe_shards *s, const struct cwe_safetensors_plan *tensor, const size_t *unit, uint64_t limit,
	struct cwb_err *err)
{
	uint64_t used = 0;
	size_t i = 0, k;

	s->n_shards = 1;
	while (i < s->count) {
		uint64_t bytes = 0, one;
		size_t end = i;

		for (; end < s->count && unit[end] == unit[i]; end++) {
			if (cwe_dtype_bytes(tensor[end].dtype, tensor[end].rank, tensor[end].shape, &one) ||
				__builtin_add_overflow(bytes, one, &bytes))
				return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": its shape has no size", tensor[end].name);
		}
		if (used && (bytes > limit || used > limit - bytes)) {
			s->n_shards++;
			used = 0;
		}
		used += bytes;
		s->total += bytes;
		for (k = i; k < end; k++)
			s->shard[k] = s->n_shards - 1;
		i = end;
	}
	if (s->n_shards > 99999)
		return cwb_err_set(err, CWP_EVALUE, "write.shard: %" PRIu64 " bytes would make %zu files: choose a larger size",
			limit, s->n_shards);
	return 0;
}

/* A file that already has its name goes back to the temporary one, when there is no such file. */
static void take_back(int folder, const char *name)
{
	char temp[256];

	cwe_partial_temp(name, temp, sizeof temp);
	if (faccessat(folder, temp, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
		(void)renameat(folder, name, folder, temp);
}

static int begin_file(struct cwe_shards *s, size_t k, unsigned flags, const struct cwe_safetensors_plan *tensor,
	int *ret_kept, struct cwb_err *err)
{
	struct cwe_safetensors_plan *part = calloc(s->count + 1, sizeof *part);
	size_t i, n = 0;
	int rc;

	if (s->n_shards == 1)
		s->file[k] = strdup("model.safetensors");
	else if (asprintf(&s->file[k], "model-%05zu-of-%05zu.safetensors", k + 1, s->n_shards) < 0)
		s->file[k] = NULL;
	if (!part || !s->file[k]) {
		free(part);
		return cwb_err_set(err, -ENOMEM, "shard %zu: out of memory", k + 1);
	}
	for (i = 0; i < s->count; i++) {
		if (s->shard[i] != k)
			continue;
		s->number[i] = n;
		part[n++] = tensor[i];
	}
	if (flags & CWE_SHARDS_LOOK) {
		uint64_t bytes = 0;

		rc = flags & CWE_SHARDS_MEASURE ? cwe_safetensors_writer_measure(flags, part, n, NULL, 0, &bytes, err) : 0;
		s->bytes += bytes;
		free(part);
		return rc;
	}
	if (flags & CWE_SAFETENSORS_RESUME)
		take_back(s->folder, s->file[k]);
	rc = cwe_safetensors_writer_new(s->folder, s->file[k], flags, part, n, NULL, 0, &s->writer[k], ret_kept, err);
	free(part);
	if (!rc && s->follow)
		cwe_follow_file(s->follow, k, cwe_safetensors_writer_fd(s->writer[k]), s->file[k],
			cwe_safetensors_writer_size(s->writer[k]));
	return rc;
}

size_t cwe_shards_count(const struct cwe_shards *s)
{
	return s->n_shards;
}

uint64_t cwe_shards_bytes(const struct cwe_shards *s)
{
	return s->bytes;
}

int cwe_shards_new(int folder, unsigned flags, const struct cwe_safetensors_plan *tensor, const size_t *unit, size_t count,
	uint64_t limit, struct cwe_shards **ret, int *ret_kept, struct cwb_err *err)
{
	struct cwe_shards *s = calloc(1, sizeof *s);
	int rc = 0, kept, all = 1;
	size_t i;

	if (s) {
		s->folder = folder;
		s->count = count;
		s->name = calloc(count + 1, sizeof *s->name);
		s->shard = calloc(count + 1, sizeof *s->shard);
		s->number = calloc(count + 1, sizeof *s->number);
		s->done = calloc(count + 1, 1);
	}
	if (!s || !s->name || !s->shard || !s->number || !s->done)
		goto nomem;
	for (i = 0; i < count; i++) {
		s->name[i] = strdup(tensor[i].name);
		if (!s->name[i])
			goto nomem;
	}
	rc = cut(s, tensor, unit, limit, err);
	if (rc)
		goto fail;
	s->file = calloc(s->n_shards, sizeof(char *));
	s->writer = calloc(s->n_shards, sizeof(void *));
	s->dirty = calloc(s->n_shards, sizeof *s->dirty);
	if (!s->file || !s->writer || !s->dirty)
		goto nomem;
	if (flags & CWE_SHARDS_DIGEST)
		rc = cwe_follow_new(s->n_shards, &s->follow, err);
	if (rc)
		goto fail;
	for (i = 0; i < s->n_shards; i++) {
		kept = 0;
		rc = begin_file(s, i, flags, tensor, &kept, err);
		if (rc)
			goto fail;
		all &= kept;
	}
	*ret = s;
	*ret_kept = all;
	return 0;
nomem:
	rc = cwb_err_set(err, -ENOMEM, "tensor files: out of memory");
fail:
	if (s && s->writer && !(flags & CWE_SAFETENSORS_RESUME))
		cwe_shards_discard(s);
	cwe_shards_free(s);
	return rc;
}

int cwe_shards_write(struct cwe_shards *s, size_t i, uint64_t offset, const void *src, uint64_t bytes, struct cwb_err *err)
{
	size_t k = s->shard[i];

	atomic_store_explicit(&s->dirty[k], 1, memory_order_relaxed);
	if (s->done[i] && s->follow)
		cwe_follow_again(s->follow, k);
	return cwe_safetensors_writer_write(s->writer[k], s->number[i], offset, src, bytes, err);
}

void cwe_shards_done(struct cwe_shards *s, size_t i)
{
	uint64_t whole = cwe_safetensors_writer_done(s->writer[s->shard[i]], s->number[i]);

	s->done[i] = 1;
	if (s->follow)
		cwe_follow_whole(s->follow, s->shard[i], whole);
}

int cwe_shards_sync(struct cwe_shards *s, struct cwb_err *err)
{
	size_t k;
	int rc = 0;

	for (k = 0; k < s->n_shards && !rc; k++)
		if (atomic_exchange_explicit(&s->dirty[k], 0, memory_order_relaxed))
			rc = cwe_safetensors_writer_sync(s->writer[k], err);
	return rc;
}

int cwe_shards_publish(struct cwe_shards *s, struct cwb_err *err)
{
	size_t i;
	int rc = s->follow ? cwe_follow_finish(s->follow, err) : 0;

	for (i = 0; i < s->n_shards && !rc; i++)
		rc = cwe_safetensors_writer_sync(s->writer[i], err);
	for (i = 0; i < s->n_shards && !rc; i++)
		rc = cwe_safetensors_writer_publish(s->writer[i], err);
	if (!rc)
		rc = cwb_file_sync_folder(s->folder, "output folder", err);
	if (rc)
		cwe_shards_unpublish(s);
	return rc;
}

int cwe_shards_digests(const struct cwe_shards *s, struct cwb_known *list, struct cwb_err *err)
{
	struct cwb_known_file file;
	struct stat st;
	size_t i;

	for (i = 0; s->follow && i < s->n_shards; i++) {
		if (fstatat(s->folder, s->file[i], &st, AT_SYMLINK_NOFOLLOW))
			return cwb_err_errno(err, "%s: cannot be looked at", s->file[i]);
		cwb_known_identify(&st, &file);
		if (cwb_known_note(list, &file, cwe_follow_hex(s->follow, i)))
			return cwb_err_set(err, -ENOMEM, "digests of tensor files: out of memory");
	}
	return 0;
}

void cwe_shards_unpublish(struct cwe_shards *s)
{
	size_t i;

	for (i = 0; i < s->n_shards; i++)
		take_back(s->folder, s->file[i]);
}

int cwe_shards_published(const struct cwe_shards *s)
{
	size_t i;

	for (i = 0; i < s->n_shards; i++)
		if (faccessat(s->folder, s->file[i], F_OK, AT_SYMLINK_NOFOLLOW))
			return 0;
	return 1;
}

void cwe_shards_discard(struct cwe_shards *s)
{
	size_t i;

	for (i = 0; i < s->n_shards; i++)
		cwe_safetensors_writer_discard(s->writer[i]);
}

int cwe_shards_index(const struct cwe_shards *s, json_t **ret, struct cwb_err *err)
{
	json_t *map, *index;
	size_t i;

	*ret = NULL;
	if (s->n_shards == 1)
		return 0;
	map = json_object();
	for (i = 0; i < s->count; i++)
		if (json_object_set_new(map, s->name[i], json_string(s->file[s->shard[i]]))) {
			json_decref(map);
			return cwb_err_set(err, -ENOMEM, "index: out of memory");
		}
	index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)s->total, "weight_map", map);
	if (!index)
		return cwb_err_set(err, -ENOMEM, "index: out of memory");
	*ret = index;
	return 0;
}

void cwe_shards_free(struct cwe_shards *s)
{
	size_t i;

	if (!s)
		return;
	cwe_follow_free(s->follow);
	for (i = 0; s->name && i < s->count; i++)
		free(s->name[i]);
	for (i = 0; s->file && i < s->n_shards; i++)
		free(s->file[i]);
	for (i = 0; s->writer && i < s->n_shards; i++)
		cwe_safetensors_writer_free(s->writer[i]);
	free(s->name);
	free(s->shard);
	free(s->number);
	free(s->file);
	free(s->writer);
	free(s->dirty);
	free(s->done);
	free(s);
}

/* Whether a name in the folder is left from an earlier attempt. */
static int is_left(const char *name, int keep)
{
	static const char *const ours[] = {"model.safetensors", "model-[0-9]*-of-[0-9]*.safetensors",
		"model.safetensors.index.json", "protected.safetensors", "protected.mask", "model.gguf"};
	size_t i;

	if (!fnmatch(".*.tmp-partial", name, 0))
		return !keep;
	if (!fnmatch(".*.tmp-*", name, 0))
		return 1;
	for (i = 0; i < sizeof ours / sizeof *ours && !keep; i++)
		if (!fnmatch(ours[i], name, 0))
			return 1;
	return 0;
}

int cwe_shards_clean(int folder, int keep, struct cwb_err *err)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!dir) {
		rc = cwb_err_errno(err, "output folder: cannot be read");
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (!rc && (e = readdir(dir)))
		if (is_left(e->d_name, keep) && unlinkat(folder, e->d_name, 0) && errno != ENOENT)
			rc = cwb_err_errno(err, "%s: left by an earlier attempt, cannot be removed", e->d_name);
	closedir(dir);
	return rc;
}
