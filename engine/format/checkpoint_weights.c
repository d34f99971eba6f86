/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* struct cwe_weights over the safetensors files of a directory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/checkpoint.h"

#define PIECE 32768 /* bytes converted at a time, on the stack */

struct checkpoint_weights {
	struct cwe_weights base;
	struct cwe_checkpoint *checkpoint;
	struct cwe_tensor *tensors;
};

static const struct cwe_checkpoint_tensor *place_of(const struct cwe_weights *w, const struct cwe_tensor *t)
{
	return &((const struct checkpoint_weights *)w)->checkpoint->tensors[t->index];
}

/* Elements of one row: the wrapper has checked row and rows against shape[0]. */
static uint64_t row_elements(const struct cwe_tensor *t)
{
	uint64_t n = 1;

	for (uint32_t i = 1; i < t->rank; i++)
		n *= t->shape[i];
	return n;
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	uint64_t bytes = row_elements(t) * cwe_cwp_dtype_size(t->dtype);

	return cwe_checkpoint_read(place_of(w, t), row * bytes, dst, rows * bytes, err);
}

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	uint64_t size = cwe_cwp_dtype_size(t->dtype), at = row * row_elements(t), left = rows * row_elements(t);
	unsigned char piece[PIECE];
	int rc;

	if (t->dtype == CWP_F32)
		return read_raw(w, t, row, rows, dst, err);
	while (left) {
		uint64_t n = left < PIECE / size ? left : PIECE / size;

		rc = cwe_checkpoint_read(place_of(w, t), at * size, piece, n * size, err);
		if (rc)
			return rc;
		cwe_f32_from_dtype(dst, piece, t->dtype, (size_t)n);
		dst += n;
		at += n;
		left -= n;
	}
	return 0;
}

static void close_weights(struct cwe_weights *w)
{
	struct checkpoint_weights *c = (struct checkpoint_weights *)w;

	cwe_checkpoint_close(c->checkpoint);
	free(c->tensors);
	free(c);
}

static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_weights};

static int ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && !strcmp(name + n - m, end);
}

static int take_tensors(struct checkpoint_weights *w, struct cwb_err *err)
{
	for (size_t i = 0; i < w->checkpoint->count; i++) {
		const struct cwe_safetensors_entry *e = w->checkpoint->tensors[i].entry;
		uint32_t dtype = cwe_dtype_to_cwp(e->dtype);
		struct cwe_tensor *t = &w->tensors[w->base.count];

		if (!dtype && ends_with(e->name, ".weight"))
			return cwb_err_set(err, CWP_EUNKNOWN,
				"%s: tensor \"%.200s\" has dtype %s; a model is read from F32, F16 and BF16 weights, take the one that "
				"this was quantized from", w->checkpoint->tensors[i].file->input.path, e->name,
				cwe_dtype_name(e->dtype));
		if (!dtype || e->rank > CWE_RANK_MAX)
			continue;
		t->name = e->name;
		t->dtype = dtype;
		t->rank = e->rank;
		memcpy(t->shape, e->shape, sizeof t->shape);
		t->index = i;
		w->base.count++;
	}
	return 0;
}

int cwe_checkpoint_weights_open(const char *directory, struct cwe_weights **ret, struct cwb_err *err)
{
	struct checkpoint_weights *w = calloc(1, sizeof *w);
	int rc;

	if (!w)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	rc = cwe_checkpoint_open(directory, &w->checkpoint, err);
	if (rc)
		goto fail;
	w->tensors = calloc(w->checkpoint->count + 1, sizeof *w->tensors);
	if (!w->tensors) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", directory);
		goto fail;
	}
	rc = take_tensors(w, err);
	if (rc)
		goto fail;
	w->base.ops = &ops;
	w->base.tensors = w->tensors;
	*ret = &w->base;
	return 0;
fail:
	close_weights(&w->base);
	return rc;
}
