/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layer by layer: the scales of each input chosen, folded, and kept for attempts to come. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "engine/format/scaled.h"
#include "engine/pipeline/smooth.h"

/* Rows of the widest matrix whose errors are held at a time. */
#define ERROR_ROWS 1024

int cwe_smoothing_wanted(const struct cwe_run *run)
{
	return (run->quantizer_needs & CWP_QUANTIZER_SMOOTHS) != 0;
}

/* Bytes of the mask of a layer's modules before one. */
static uint64_t mask_at(const struct cwe_run *run, uint32_t layer, size_t module)
{
	uint64_t at = 0;
	for (size_t i = run->layer_at[layer]; i < module; i++) {
		at += cwe_run_module_mask_bytes(&run->module[i]);
	}
	return at;
}

/* Scales that are chosen in a layer. */
static uint64_t chosen_floats(const struct cwe_run *run, uint32_t layer)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < cwe_folds(&run->model.arch, layer); i++) {
		struct cwe_fold f;
		cwe_fold_at(&run->model.arch, layer, i, &f);
		n += f.channels;
	}
	return n;
}

/* The most of any layer: bytes of masks, scales, channels of distinct inputs. */
static void sizes(const struct cwe_run *run, uint64_t *ret_mask, uint64_t *ret_scales, uint64_t *ret_inputs)
{
	uint64_t weights;
	cwe_linears_sum_most(&run->model.arch, &weights, ret_inputs);
	*ret_mask = *ret_scales = 0;
	for (uint32_t l = 0; l < run->model.arch.layers; l++) {
		uint64_t mask = mask_at(run, l, run->layer_at[l + 1]), scales = chosen_floats(run, l);
		*ret_mask = mask > *ret_mask ? mask : *ret_mask;
		*ret_scales = scales > *ret_scales ? scales : *ret_scales;
	}
}

static uint64_t error_rows(const struct cwe_run *run)
{
	uint64_t rows = (run->tallest + CWE_ROW_TILE - 1) / CWE_ROW_TILE * CWE_ROW_TILE;
	return rows < ERROR_ROWS ? rows : ERROR_ROWS;
}

static int has_gram(const struct cwe_run *run)
{
	return (run->quantizer_needs & CWP_STAT_GRAM) != 0;
}

/* Factors of rows and columns, of all layers. */
static uint64_t factor_floats(const struct cwe_run *run)
{
	uint64_t n = 0;
	for (uint32_t l = 0; l < run->model.arch.layers; l++) {
		for (uint32_t i = 0; i < cwe_folds(&run->model.arch, l); i++) {
			struct cwe_fold f;
			cwe_fold_at(&run->model.arch, l, i, &f);
			n += 2 * f.channels + f.consumers * f.cols;
		}
	}
	return n;
}

uint64_t cwe_smoothing_memory(const struct cwe_run *run)
{
	uint64_t mask, scales, inputs, widest = run->widest;
	if (!cwe_smoothing_wanted(run)) {
		return 0;
	}
	sizes(run, &mask, &scales, &inputs);
	uint64_t room = has_gram(run) ? error_rows(run) * widest : 0, gram = has_gram(run) ? widest * widest : 0;
	/* A tile of each thread too: scaled weights, codes, scales; and what one input needs. */
	return mask + (factor_floats(run) + scales + inputs + 3 * room + 2 * gram + 26 * widest) * sizeof(float) +
		run->p->host->table.threads * CWE_ROW_TILE * widest * 10;
}

uint64_t cwe_smoothing_device_memory(const struct cwe_run *run)
{
	uint64_t widest = run->widest, rows = error_rows(run);
	return cwe_smoothing_wanted(run) && has_gram(run) ? (2 * rows * widest + rows + widest * widest) * sizeof(float) : 0;
}

static int allocate(struct cwe_smoothing *s, struct cwb_err *err)
{
	struct cwe_device *device = &s->run->device;
	uint64_t mask, inputs, widest = s->run->widest;
	int staged = !(device->ops->flags & CWP_BACKEND_HOST_MEMORY), r = 0;
	sizes(s->run, &mask, &s->chosen_count, &inputs);
	s->rows = has_gram(s->run) ? error_rows(s->run) : 0;
	s->mask = s->masked ? malloc(mask + 1) : NULL;
	s->scale = calloc(inputs + 1, sizeof *s->scale);
	s->chosen = calloc(s->chosen_count + 1, sizeof *s->chosen);
	s->error = malloc(s->rows * widest * sizeof *s->error + 1);
	s->code = calloc(s->rows / CWE_ROW_TILE + 1, sizeof *s->code);
	s->gram = malloc((has_gram(s->run) ? widest * widest : 0) * sizeof *s->gram + 1);
	s->absmax = malloc(widest * sizeof *s->absmax + 1);
	s->sum = malloc(3 * widest * sizeof *s->sum + 1);
	s->range = calloc(2 * widest + 1, sizeof *s->range);
	if ((s->masked && s->mask == NULL) || s->scale == NULL || s->chosen == NULL || s->error == NULL || s->code == NULL ||
		s->gram == NULL || s->absmax == NULL || s->sum == NULL || s->range == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for scales");
	}
	if (has_gram(s->run)) {
		r = cwe_device_floats(device, s->rows * widest, &s->d_product, err);
		r = r == 0 ? cwe_device_floats(device, s->rows, &s->d_dot, err) : r;
		r = r == 0 && staged ? cwe_device_floats(device, s->rows * widest, &s->d_error, err) : r;
		r = r == 0 && staged ? cwe_device_floats(device, widest * widest, &s->d_gram, err) : r;
	}
	return r;
}

int cwe_smoothing_new(struct cwe_run *run, int masked, struct cwe_smoothing **ret, struct cwb_err *err)
{
	struct cwe_smoothing *s = calloc(1, sizeof *s);
	if (s == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for scales");
	}
	s->run = run;
	s->masked = masked;
	s->gram_input = UINT64_MAX;
	int r = allocate(s, err);
	r = r == 0 ? cwe_scaled_new(run->source->weights, &s->scaled, err) : r;
	if (r != 0) {
		cwe_smoothing_free(s);
		return r;
	}
	s->model = run->model;
	s->model.weights = s->scaled;
	*ret = s;
	return 0;
}

void cwe_smoothing_free(struct cwe_smoothing *s)
{
	if (s == NULL) {
		return;
	}
	struct cwe_device *device = &s->run->device;
	uint64_t widest = s->run->widest;
	cwe_device_free(device, s->d_product, s->rows * widest * sizeof(float));
	cwe_device_free(device, s->d_error, s->rows * widest * sizeof(float));
	cwe_device_free(device, s->d_dot, s->rows * sizeof(float));
	cwe_device_free(device, s->d_gram, widest * widest * sizeof(float));
	cwe_weights_close(s->scaled);
	free(s->mask);
	free(s->scale);
	free(s->chosen);
	free(s->error);
	free(s->code);
	free(s->gram);
	free(s->absmax);
	free(s->range);
	free(s->sum);
	free(s);
}

uint8_t *cwe_smoothing_mask(struct cwe_smoothing *s, const struct cwe_run_module *m)
{
	return s->mask + mask_at(s->run, m->layer, (size_t)(m - s->run->module));
}

/* Scales of a fold's columns to where those of the consumers' inputs are. */
static void note_columns(struct cwe_smoothing *s, uint32_t layer, const struct cwe_fold *fold, const float *scale)
{
	const struct cwe_arch *a = &s->run->model.arch;
	for (uint32_t i = 0; i < fold->consumers; i++) {
		struct cwe_linear l;
		cwe_linear_at(a, layer, cwe_fold_consumer(a, layer, fold, i), &l);
		for (uint64_t c = 0; !l.kept && c < l.cols; c++) {
			s->scale[l.input_at + c] = scale[cwe_fold_channel(fold, c)];
		}
	}
}

/* Folds `chosen` into the layer's weights. */
static int apply(struct cwe_smoothing *s, uint32_t layer, struct cwb_err *err)
{
	const struct cwe_arch *a = &s->run->model.arch;
	float *scale = malloc(s->chosen_count * sizeof *scale + 1);
	uint64_t weights, inputs, at = 0;
	int r = scale != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for scales");
	cwe_linears_sum(a, layer, &weights, &inputs);
	for (uint64_t i = 0; i < inputs; i++) {
		s->scale[i] = 1;
	}
	s->gram_input = UINT64_MAX;
	for (uint32_t i = 0; r == 0 && i < cwe_folds(a, layer); i++) {
		struct cwe_fold f;
		cwe_fold_at(a, layer, i, &f);
		memcpy(scale, s->chosen + at, f.channels * sizeof *scale);
		r = cwe_fold_apply(&s->run->model, s->scaled, layer, &f, scale, err);
		note_columns(s, layer, &f, scale);
		at += f.channels;
	}
	free(scale);
	return r;
}

int cwe_smoothing_run(struct cwe_smoothing *s, const struct cwe_smoothing_layer *at, struct cwb_err *err)
{
	const struct cwe_arch *a = &s->run->model.arch;
	uint64_t done = 0;
	int r = 0;
	s->measured = 0;
	for (uint32_t i = 0; r == 0 && i < cwe_folds(a, at->layer); i++) {
		struct cwe_fold f;
		cwe_fold_at(a, at->layer, i, &f);
		r = cwe_smoothing_choose(s, at, &f, s->chosen + done, err);
		r = r == 0 ? cwe_run_cancelled(s->run, err) : r;
		done += f.channels;
	}
	r = r == 0 ? apply(s, at->layer, err) : r;
	return r == 0 ? cwe_layer_load(&s->model, at->layer, at->loaded, err) : r;
}

/* x / s instead of x. */
static void rescale(struct cwe_smoothing *s, const float *scale, uint64_t input, struct cwe_module_statistics *st)
{
	uint64_t n = st->cols;
	const double *from[3] = {st->act_sum, st->act_sq, st->act_abs};
	for (uint64_t c = 0; c < n; c++) {
		double f = 1 / (double)scale[c];
		for (uint64_t k = 0; k < 3; k++) {
			s->sum[k * s->run->widest + c] = from[k] != NULL ? from[k][c] * (k == 1 ? f * f : f) : 0;
		}
		s->absmax[c] = st->act_absmax != NULL ? (float)((double)st->act_absmax[c] * f) : 0;
		s->range[c] = st->act_least != NULL ? (float)((double)st->act_least[c] * f) : 0;
		s->range[s->run->widest + c] = st->act_greatest != NULL ? (float)((double)st->act_greatest[c] * f) : 0;
	}
	for (uint64_t i = 0; st->gram != NULL && input != s->gram_input && i < n; i++) {
		for (uint64_t k = 0; k < n; k++) {
			/* The same on either side of the diagonal. */
			s->gram[i * n + k] = (float)((double)st->gram[i * n + k] / ((double)scale[i] * (double)scale[k]));
		}
	}
	s->gram_input = st->gram != NULL ? input : UINT64_MAX;
	st->act_sum = st->act_sum != NULL ? s->sum : NULL;
	st->act_sq = st->act_sq != NULL ? s->sum + s->run->widest : NULL;
	st->act_abs = st->act_abs != NULL ? s->sum + 2 * s->run->widest : NULL;
	st->act_absmax = st->act_absmax != NULL ? s->absmax : NULL;
	st->act_least = st->act_least != NULL ? s->range : NULL;
	st->act_greatest = st->act_greatest != NULL ? s->range + s->run->widest : NULL;
	st->gram = st->gram != NULL ? s->gram : NULL;
}

void cwe_smoothing_measured(struct cwe_smoothing *s)
{
	s->measured = 1;
	s->gram_input = UINT64_MAX;
}

int cwe_smoothing_module(struct cwe_smoothing *s, const struct cwe_run_module *m, float *weight,
	struct cwe_module_statistics *st, struct cwb_err *err)
{
	struct cwe_linear l;
	cwe_linear_at(&s->run->model.arch, m->layer, m->linear, &l);
	if (!s->measured) {
		rescale(s, s->scale + l.input_at, l.input_at, st);
	}
	st->weight = weight;
	return cwe_scaled_read(s->scaled, cwe_run_module_tensor(s->run, m), 0, m->rows, weight, err);
}

/* ---- on scratch ---- */

#define NAME_SIZE 40

static const char *file_name(uint32_t layer, char name[NAME_SIZE])
{
	(void)snprintf(name, NAME_SIZE, "sequence-scales-%u", layer);
	return name;
}

/* Over the run's identity and the scales, so that neither a torn file nor another job's is taken. */
static int digest_of(const struct cwe_run *run, const float *scale, uint64_t n, uint8_t ret[CWB_DIGEST_SIZE], struct cwb_err *err)
{
	struct cwb_digest d;
	int r = cwb_digest_begin(&d);
	if (r == 0) {
		cwb_digest_update(&d, run->identity, sizeof run->identity);
		cwb_digest_update(&d, scale, n * sizeof *scale);
		r = cwb_digest_end(&d, ret);
	}
	return r == 0 ? 0 : cwb_err_set(err, r, "no memory for the digest of scales");
}

int cwe_smoothing_save(const struct cwe_smoothing *s, uint32_t layer, struct cwb_err *err)
{
	uint64_t n = chosen_floats(s->run, layer), bytes = n * sizeof *s->chosen;
	uint8_t *data = malloc(bytes + CWB_DIGEST_SIZE);
	char name[NAME_SIZE];
	int r = data != NULL ? digest_of(s->run, s->chosen, n, data, err) : cwb_err_set(err, -ENOMEM, "no memory to keep scales");
	if (r == 0) {
		memcpy(data + CWB_DIGEST_SIZE, s->chosen, bytes);
		r = cwb_file_replace(s->run->scratch_fd, file_name(layer, name), data, bytes + CWB_DIGEST_SIZE, 0600, err);
	}
	free(data);
	return r;
}

int cwe_smoothing_load(struct cwe_smoothing *s, uint32_t layer, struct cwb_err *err)
{
	uint64_t n = chosen_floats(s->run, layer), bytes = n * sizeof *s->chosen;
	uint8_t digest[CWB_DIGEST_SIZE];
	char name[NAME_SIZE], *data = NULL;
	size_t length = 0;
	int r = cwb_file_read_at(s->run->scratch_fd, file_name(layer, name), bytes + CWB_DIGEST_SIZE, &data, &length, NULL);
	if (r == 0 && length == bytes + CWB_DIGEST_SIZE) {
		memcpy(s->chosen, data + CWB_DIGEST_SIZE, bytes);
		r = digest_of(s->run, s->chosen, n, digest, err);
	}
	if (r == -ENOMEM) {
		free(data);
		return r;
	}
	int whole = r == 0 && length == bytes + CWB_DIGEST_SIZE && memcmp(digest, data, sizeof digest) == 0;
	free(data);
	return whole ? apply(s, layer, err) : cwb_err_set(err, CWP_EDIGEST, "scratch: the scales of layer %u are not whole", layer);
}
