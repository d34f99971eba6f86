/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scales into the weights on either side of an input. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/format/scaled.h"
#include "engine/model/folds.h"
#include "engine/model/model.h"

static const struct cwe_tensor *tensor_of(const struct cwe_model *m, const char *module, const char *what)
{
	char name[CWE_MODULE_NAME_MAX + 8];
	(void)snprintf(name, sizeof name, "%s.%s", module, what);
	return cwe_weights_find(m->weights, name);
}

/* 1 / scale into a norm; scale becomes what that really was. w [channels] is room. */
static int into_norm(const struct cwe_model *m, struct cwe_weights *scaled, const struct cwe_tensor *t, uint64_t n, float *scale,
	float *w, struct cwb_err *err)
{
	float offset = m->arch.norm_offset;
	float *inverse = malloc(2 * n * sizeof *inverse + 1);
	if (inverse == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to scale %s", t->name);
	}
	float *after = inverse + n;
	int r = cwe_weights_read_f32(m->weights, t, 0, n, w, err);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		inverse[i] = w[i] + offset != 0 ? 1 / scale[i] : 1;
	}
	r = r == 0 ? cwe_scaled_rows(scaled, t, 0, n, inverse, offset, err) : r;
	r = r == 0 ? cwe_weights_read_f32(scaled, t, 0, n, after, err) : r;
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		double quotient = ((double)w[i] + (double)offset) / ((double)after[i] + (double)offset);
		int usable = isfinite((float)quotient) && quotient > 0;
		scale[i] = usable ? (float)quotient : 1;
		inverse[i] = usable ? inverse[i] : 1;
	}
	r = r == 0 ? cwe_scaled_rows(scaled, t, 0, n, inverse, offset, err) : r;
	free(inverse);
	return r;
}

/* 1 / scale into rows of a matrix and of its bias. */
static int into_rows(const struct cwe_model *m, struct cwe_weights *scaled, uint32_t layer, const struct cwe_fold *fold,
	const float *scale, float *inverse, struct cwb_err *err)
{
	char module[CWE_MODULE_NAME_MAX];
	struct cwe_linear l;
	cwe_linear_at(&m->arch, layer, fold->producer, &l);
	(void)cwe_module_name(m, layer, fold->producer, module, sizeof module);
	for (uint64_t i = 0; i < fold->channels; i++) {
		inverse[i] = 1 / scale[i];
	}
	int r = cwe_scaled_rows(scaled, tensor_of(m, module, "weight"), fold->row, fold->channels, inverse, 0, err);
	return r == 0 && l.bias ? cwe_scaled_rows(scaled, tensor_of(m, module, "bias"), fold->row, fold->channels, inverse, 0, err)
				: r;
}

static int into_columns(const struct cwe_model *m, struct cwe_weights *scaled, uint32_t layer, const struct cwe_fold *fold,
	const float *scale, float *column, struct cwb_err *err)
{
	char module[CWE_MODULE_NAME_MAX];
	int r = 0;
	for (uint64_t c = 0; c < fold->cols; c++) {
		column[c] = scale[cwe_fold_channel(fold, c)];
	}
	for (uint32_t i = 0; r == 0 && i < fold->consumers; i++) {
		(void)cwe_module_name(m, layer, cwe_fold_consumer(&m->arch, layer, fold, i), module, sizeof module);
		r = cwe_scaled_columns(scaled, tensor_of(m, module, "weight"), column, err);
	}
	return r;
}

static const struct cwe_tensor *norm_of(const struct cwe_model *m, uint32_t layer, const struct cwe_fold *fold)
{
	char module[CWE_MODULE_NAME_MAX];
	(void)cwe_norm_name(m, layer, fold->norm, module, sizeof module);
	return tensor_of(m, module, "weight");
}

int cwe_fold_apply(const struct cwe_model *m, struct cwe_weights *scaled, uint32_t layer, const struct cwe_fold *fold,
	float *scale, struct cwb_err *err)
{
	float *room = malloc(fold->cols * sizeof *room + 1);
	int r = 0;
	if (room == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to fold the scales of layer %u", layer);
	}
	if (fold->kind == CWE_FOLD_NORM) {
		r = into_norm(m, scaled, norm_of(m, layer, fold), fold->channels, scale, room, err);
	} else {
		r = into_rows(m, scaled, layer, fold, scale, room, err);
	}
	r = r == 0 ? into_columns(m, scaled, layer, fold, scale, room, err) : r;
	free(room);
	return r;
}

int cwe_fold_round(const struct cwe_model *m, uint32_t layer, const struct cwe_fold *fold, float *scale, struct cwb_err *err)
{
	struct cwe_weights *scaled = NULL;
	if (fold->kind != CWE_FOLD_NORM) {
		return 0;
	}
	float *room = malloc(fold->channels * sizeof *room + 1);
	int r = room != NULL ? cwe_scaled_new(m->weights, &scaled, err)
			     : cwb_err_set(err, -ENOMEM, "no memory to round the scales of layer %u", layer);
	r = r == 0 ? into_norm(m, scaled, norm_of(m, layer, fold), fold->channels, scale, room, err) : r;
	cwe_weights_close(scaled);
	free(room);
	return r;
}
