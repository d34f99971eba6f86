/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs as one GGUF file: everything that a reader needs is in it, so no texts stand beside. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/gguf_encode.h"
#include "engine/format/writer_state.h"

/* Modules as they will come, then the rest, so that the file is whole from its beginning on while it is written. */
static void set_order(struct cwe_writer *w, const struct cwe_output_module *module, size_t count, size_t *order)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		const struct cwe_writer_unit *u = module[i].grid.code ? cwe_writer_find_module(w, module[i].name) : NULL;

		if (u)
			order[n++] = (size_t)(u - w->unit);
	}
	for (size_t i = 0; i < w->count; i++)
		if (!w->unit[i].module)
			order[n++] = i;
}

int cwe_writer_gguf_plan(struct cwe_writer *w, const struct cwe_output_module *module, size_t count, struct cwb_err *err)
{
	uint32_t *type = calloc(w->count + 1, sizeof *type);
	size_t *order = calloc(w->count + 1, sizeof *order);
	int rc = type && order ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_GGUF_FILE);

	for (size_t i = 0; i < w->count && !rc; i++) {
		const struct cwe_writer_unit *u = &w->unit[i];

		type[i] = u->module && !w->dense ? cwe_gguf_grid_type(&u->grid) : CWE_GGUF_OWN_TYPE;
	}
	if (!rc) {
		set_order(w, module, count, order);
		rc = cwe_gguf_output_make(w->source, order, type, &w->gguf, err);
	}
	free(order);
	free(type);
	return rc;
}

/* Those that an earlier attempt wrote count as whole. */
static int begin_digest(struct cwe_writer *w, int kept, struct cwb_err *err)
{
	int rc;

	w->gguf_left = calloc(w->gguf_tensors + 1, sizeof *w->gguf_left);
	rc = w->gguf_left ? cwe_follow_new(1, &w->gguf_digest, err) : cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_GGUF_FILE);
	if (rc)
		return rc;
	cwe_follow_file(w->gguf_digest, 0, cwe_gguf_writer_fd(w->gguf_file), CWE_GGUF_FILE,
		cwe_gguf_writer_start(w->gguf_file, w->gguf_tensors));
	for (size_t i = 0; i < w->count; i++)
		w->gguf_left[w->gguf.place[i].tensor]++;
	for (size_t i = 0; i < w->count && kept; i++)
		if (w->unit[i].done)
			cwe_writer_gguf_done(w, &w->unit[i]);
	return 0;
}

int cwe_writer_gguf_open(struct cwe_writer *w, int resume, int *ret_kept, struct cwb_err *err)
{
	int rc;

	w->gguf_tensors = w->gguf.layout.count;
	rc = cwe_gguf_writer_new(w->folder, CWE_GGUF_FILE, resume, &w->gguf.layout, &w->gguf_file, ret_kept, err);
	for (size_t i = 0; i < w->gguf.n_extra && !rc; i++)
		rc = cwe_gguf_writer_write(w->gguf_file, w->gguf.extra[i].tensor, 0, w->gguf.extra[i].data, w->gguf.extra[i].bytes, err);
	return rc ? rc : begin_digest(w, resume && *ret_kept, err);
}

void cwe_writer_gguf_done(struct cwe_writer *w, const struct cwe_writer_unit *u)
{
	size_t *left = &w->gguf_left[cwe_writer_gguf_place(w, u)->tensor];

	*left -= *left > 0;
	while (w->gguf_whole < w->gguf_tensors && !w->gguf_left[w->gguf_whole])
		w->gguf_whole++;
	cwe_follow_whole(w->gguf_digest, 0, cwe_gguf_writer_start(w->gguf_file, w->gguf_whole));
}

void cwe_writer_gguf_again(struct cwe_writer *w, const struct cwe_writer_unit *u)
{
	w->gguf_left[cwe_writer_gguf_place(w, u)->tensor]++;
	cwe_follow_again(w->gguf_digest, 0);
}

const struct cwe_gguf_place *cwe_writer_gguf_place(const struct cwe_writer *w, const struct cwe_writer_unit *u)
{
	return &w->gguf.place[u - w->unit];
}

int cwe_writer_gguf_copy(struct cwe_writer *w, const struct cwe_writer_unit *u, struct cwb_err *err)
{
	return cwe_gguf_put_tensor(w->gguf_file, cwe_writer_gguf_place(w, u), w->values, u->source, err);
}

int cwe_writer_gguf_codes(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *codes, const float *scales,
	struct cwb_err *err)
{
	return cwe_gguf_put_codes(w->gguf_file, cwe_writer_gguf_place(w, u), u->module, &u->grid, codes, scales, err);
}

int cwe_writer_gguf_finish(struct cwe_writer *w, struct cwb_err *err)
{
	struct cwe_safetensors_writer *mask = NULL;
	int rc = w->mask ? cwe_writer_overlay_finish(w, &mask, err) : 0;

	if (!rc)
		rc = cwe_follow_finish(w->gguf_digest, err);
	if (!rc)
		rc = cwe_gguf_writer_publish(w->gguf_file, err);
	if (!rc && mask)
		rc = cwe_safetensors_writer_publish(mask, err);
	if (!rc)
		rc = cwb_file_sync_folder(w->folder, w->directory, err);
	if (!rc)
		rc = cwe_writer_journal_end(w, err);
	if (rc) { /* without the journal's last line the files are unfinished ones */
		(void)unlinkat(w->folder, CWE_MASK_FILE, 0);
		cwe_gguf_writer_unpublish(w->gguf_file);
		if (mask)
			cwe_safetensors_writer_discard(mask);
	} else if (w->pieces >= 0) {
		(void)unlinkat(w->folder, CWE_WRITER_PIECES, 0);
	}
	cwe_safetensors_writer_free(mask);
	w->finished = !rc;
	return rc;
}

void cwe_writer_gguf_measure(const struct cwe_writer *w, struct cwe_writer_size *size)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->unit[i].module && !w->dense)
			size->quantized_bytes += cwe_gguf_place_bytes(&w->gguf.place[i]);
	size->files = w->gguf.bytes;
	size->n_files = 1;
}

int cwe_writer_gguf_digest(const struct cwe_writer *w, struct cwb_known *list, struct cwb_err *err)
{
	struct cwb_known_file file;
	struct stat st;

	if (!w->gguf_digest) /* an earlier attempt finished the file */
		return 0;
	if (fstatat(w->folder, CWE_GGUF_FILE, &st, AT_SYMLINK_NOFOLLOW))
		return cwb_err_errno(err, "%s: cannot be looked at", CWE_GGUF_FILE);
	cwb_known_identify(&st, &file);
	if (cwb_known_note(list, &file, cwe_follow_hex(w->gguf_digest, 0)))
		return cwb_err_set(err, -ENOMEM, "digests of tensor files: out of memory");
	return 0;
}

void cwe_writer_gguf_free(struct cwe_writer *w)
{
	cwe_follow_free(w->gguf_digest);
	free(w->gguf_left);
	cwe_gguf_writer_free(w->gguf_file);
	cwe_gguf_output_free(&w->gguf);
}
