/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs as one GGUF file: everything that a reader needs is in it, so no texts stand beside. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/gguf_encode.h"
#include "engine/format/writer_state.h"

int cwe_writer_gguf_plan(struct cwe_writer *w, struct cwb_err *err)
{
	uint32_t *type = calloc(w->count + 1, sizeof *type);
	int rc;

	if (!type)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_GGUF_FILE);
	for (size_t i = 0; i < w->count; i++) {
		const struct cwe_writer_unit *u = &w->unit[i];

		type[i] = u->module && !w->dense ? cwe_gguf_grid_type(&u->grid) : CWE_GGUF_OWN_TYPE;
	}
	rc = cwe_gguf_output_make(w->source, type, &w->gguf, err);
	free(type);
	return rc;
}

int cwe_writer_gguf_open(struct cwe_writer *w, int resume, int *ret_kept, struct cwb_err *err)
{
	int rc = cwe_gguf_writer_new(w->folder, CWE_GGUF_FILE, resume, &w->gguf.layout, &w->gguf_file, ret_kept, err);

	for (size_t i = 0; i < w->gguf.n_extra && !rc; i++)
		rc = cwe_gguf_writer_write(w->gguf_file, w->gguf.extra[i].tensor, 0, w->gguf.extra[i].data, w->gguf.extra[i].bytes, err);
	return rc;
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

void cwe_writer_gguf_free(struct cwe_writer *w)
{
	cwe_gguf_writer_free(w->gguf_file);
	cwe_gguf_output_free(&w->gguf);
}
