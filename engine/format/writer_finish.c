/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The end of an output: overlay, config.json, index and the texts beside them; all names appear together. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/writer_state.h"

/* Whether a tensor that stays as it is looks like a Linear's weight, which engines must be told to leave alone. Naming
 * something else does no harm. *ret_length: bytes of the module's name. */
static int is_linear(const struct cwe_writer_unit *u, size_t *ret_length)
{
	const char *name = u->source->name, *embed = "embed_tokens";
	size_t n = strlen(name), tail = strlen(".weight");

	if (u->module || u->source->rank != 2 || n <= tail || strcmp(name + n - tail, ".weight") != 0)
		return 0;
	n -= tail;
	*ret_length = n;
	return n < strlen(embed) || strncmp(name + n - strlen(embed), embed, strlen(embed)) != 0;
}

/* Names for `ignore`: lm_head always (tied models have no tensor of it), and every other Linear that is kept. */
static int ignored_names(const struct cwe_writer *w, char **name, size_t *n, struct cwb_err *err)
{
	int head = 0;
	size_t i, length;

	for (i = 0; i < w->count; i++) {
		const struct cwe_writer_unit *u = &w->unit[i];

		head |= u->module && !strcmp(u->module, "lm_head");
		if (!is_linear(u, &length))
			continue;
		name[*n] = strndup(u->source->name, length);
		if (!name[*n])
			return cwb_err_set(err, -ENOMEM, "config.json: out of memory");
		head |= !strcmp(name[*n], "lm_head");
		++*n;
	}
	if (head)
		return 0;
	name[*n] = strdup("lm_head");
	if (!name[*n])
		return cwb_err_set(err, -ENOMEM, "config.json: out of memory");
	++*n;
	return 0;
}

int cwe_writer_config(const struct cwe_writer *w, json_t **ret, struct cwb_err *err)
{
	struct cwe_output_module *module = calloc(w->count + 1, sizeof *module);
	char **ignore = calloc(w->count + 2, sizeof *ignore);
	size_t n = 0, n_ignore = 0, i;
	int rc;

	*ret = NULL;
	rc = module && ignore ? ignored_names(w, ignore, &n_ignore, err) :
				cwb_err_set(err, -ENOMEM, "config.json: out of memory");
	for (i = 0; i < w->count && !rc; i++)
		if (w->unit[i].module)
			module[n++] = cwe_writer_unit_module(&w->unit[i]);
	if (!rc && n && w->format->config)
		rc = w->format->config(module, n, (const char *const *)ignore, n_ignore, ret, err);
	for (i = 0; i < n_ignore; i++)
		free(ignore[i]);
	free(ignore);
	free(module);
	return rc;
}

int cwe_writer_texts(const struct cwe_writer *w, struct cwe_texts *t, struct cwb_err *err)
{
	json_t *config = json_copy(w->source->config), *quantization = NULL, *index = NULL;
	int rc;

	if (!config)
		return cwb_err_set(err, -ENOMEM, "config.json: out of memory");
	json_object_del(config, "quantization_config");
	rc = cwe_texts_add_source(t, w->source, err);
	if (!rc)
		rc = cwe_writer_config(w, &quantization, err);
	if (!rc && quantization)
		json_object_set(config, "quantization_config", quantization);
	if (!rc)
		rc = cwe_shards_index(w->shards, &index, err);
	if (!rc && index)
		rc = cwe_texts_add_json(t, "model.safetensors.index.json", index, err);
	if (!rc)
		rc = cwe_texts_add_json(t, "config.json", config, err);
	json_decref(index);
	json_decref(quantization);
	json_decref(config);
	return rc;
}

static int check_all_done(const struct cwe_writer *w, struct cwb_err *err)
{
	size_t i;

	for (i = 0; i < w->count; i++)
		if (!w->unit[i].done)
			return cwb_err_set(err, CWP_ESTATE, "output: tensor \"%s\" was never written", w->unit[i].source->name);
	return 0;
}

/* Takes the place of an error that is there already, such as of a file that cannot be made: it follows from this one. */
int cwe_writer_place(const struct cwe_writer *w, struct cwb_err *err)
{
	struct cwb_err gone = {0};
	struct stat ours, there;

	if (!fstat(w->folder, &ours) && !stat(w->directory, &there) && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		return 0;
	(void)cwb_err_set(&gone, CWP_ESTATE,
		"%s: the output folder was moved or removed while it was written: put it back, or leave it, and run the job again",
		w->directory);
	if (err)
		*err = gone;
	return CWP_ESTATE;
}

int cwe_writer_finish(struct cwe_writer *w, struct cwb_err *err)
{
	struct cwe_safetensors_writer *overlay = NULL;
	struct cwe_adapter_files adapter = {.folder = -1};
	struct cwe_texts texts;
	int rc;

	if (w->finished)
		return 0;
	rc = check_all_done(w, err);
	if (!rc)
		rc = cwe_writer_place(w, err);
	if (!rc)
		rc = cwe_writer_sync(w, err);
	if (rc)
		return rc;
	if (w->is_gguf)
		return cwe_writer_gguf_finish(w, err);
	cwe_texts_begin(&texts, w->folder);
	rc = cwe_writer_texts(w, &texts, err);
	if (!rc && (w->overlay || w->mask))
		rc = cwe_writer_overlay_finish(w, &overlay, err);
	if (!rc && w->adapter)
		rc = cwe_writer_adapter_begin(w, &adapter, err);
	if (rc)
		goto out;
	rc = cwe_shards_publish(w->shards, err);
	if (rc)
		goto out;
	if (overlay)
		rc = cwe_safetensors_writer_publish(overlay, err);
	if (!rc)
		rc = cwe_writer_adapter_publish(&adapter, err);
	if (!rc)
		rc = cwe_texts_commit(&texts, err);
	if (!rc) {
		rc = cwe_writer_journal_end(w, err);
		if (rc)
			cwe_texts_remove(&texts);
	}
	if (rc) {
		(void)unlinkat(w->folder, cwe_writer_overlay_name(w), 0);
		cwe_shards_unpublish(w->shards);
		goto out;
	}
	if (w->pieces >= 0)
		(void)unlinkat(w->folder, CWE_WRITER_PIECES, 0);
	w->finished = 1;
out:
	cwe_writer_adapter_end(&adapter);
	if (rc && w->adapter)
		(void)cwe_writer_adapter_remove(w, NULL);
	if (rc && overlay)
		cwe_safetensors_writer_discard(overlay);
	cwe_safetensors_writer_free(overlay);
	cwe_texts_abort(&texts);
	return rc;
}

int cwe_writer_digests(const struct cwe_writer *w, struct cwb_known *list, struct cwb_err *err)
{
	if (w->is_gguf)
		return cwe_writer_gguf_digest(w, list, err);
	return w->shards ? cwe_shards_digests(w->shards, list, err) : 0;
}
