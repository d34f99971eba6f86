/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What all implementations of struct cwe_weights share: choice by path, look-up, checks of ranges. */
#include "engine/format/weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/format/checkpoint.h"
#include "engine/format/gguf.h"

int cwe_weights_open(const char *path, struct cwe_weights **ret, struct cwb_err *err)
{
	struct cwe_gguf *g;
	struct stat st;
	int rc;

	if (stat(path, &st))
		return cwb_err_errno(err, "%s: cannot be opened", path);
	if (S_ISDIR(st.st_mode))
		return cwe_checkpoint_weights_open(path, ret, err);
	rc = cwe_gguf_open(path, &g, err);
	return rc ? rc : cwe_gguf_weights_new(g, CWE_GGUF_WEIGHTS_OWN, ret, err);
}

void cwe_weights_close(struct cwe_weights *w)
{
	if (w)
		w->ops->close(w);
}

static int by_name(const void *key, const void *tensor)
{
	return strcmp(key, ((const struct cwe_tensor *)tensor)->name);
}

const struct cwe_tensor *cwe_weights_find(const struct cwe_weights *w, const char *name)
{
	return w->count ? bsearch(name, w->tensors, w->count, sizeof *w->tensors, by_name) : NULL;
}

static int check_range(const struct cwe_tensor *t, uint64_t row, uint64_t rows, struct cwb_err *err)
{
	uint64_t total = t->rank ? t->shape[0] : 1;

	if (row > total || rows > total - row)
		return cwb_err_set(err, CWP_EVALUE, "tensor \"%s\": rows %" PRIu64 " + %" PRIu64 " lie outside its %" PRIu64,
			t->name, row, rows, total);
	return 0;
}

int cwe_weights_read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	int rc = check_range(t, row, rows, err);

	return rc ? rc : w->ops->read_f32(w, t, row, rows, dst, err);
}

void cwe_weights_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret)
{
	*ret = (struct cwe_linear_input){.how = {.size = sizeof ret->how}};
	if (w->ops->input)
		w->ops->input(w, t, ret);
}

int cwe_weights_read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
	float *exact, struct cwb_err *err)
{
	int rc = check_range(t, row, rows, err);

	if (!rc && !w->ops->read_split)
		return cwb_err_set(err, CWP_ESTATE, "tensor \"%s\": no input of these weights is split", t->name);
	return rc ? rc : w->ops->read_split(w, t, row, rows, quantized, exact, err);
}

int cwe_weights_read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	int rc = check_range(t, row, rows, err);

	return rc ? rc : w->ops->read_raw(w, t, row, rows, dst, err);
}
