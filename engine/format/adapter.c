/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening an adapter: the pairs of factors in its file, by module. */
#include "engine/format/adapter.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "base_model.model."
#define WEIGHT ".weight"
#define PIECE 4096 /* elements converted at a time, on the stack */

static int out_of_memory(const struct cwe_adapter *a, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);
}

/* Tensors of adapters that cannot be merged; NULL for others. */
static const char *foreign(const char *name)
{
	static const struct {
		const char *part, *what;
	} reasons[] = {
		{".lora_embedding_", "adapts an embedding"},
		{".lora_magnitude_vector", "belongs to DoRA"},
		{".modules_to_save.", "is a module saved whole"},
		{"trainable_tokens", "holds trained tokens"},
		{".lora_B.bias", "is a bias of lora_bias"},
		{".bias", "is a trained bias"},
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (strstr(name, reasons[i].part))
			return reasons[i].what;
	return NULL;
}

/* Why a tensor that is not foreign is no factor of a Linear. */
static const char *reason(const char *name)
{
	return strstr(name, ".lora_") ? "is no factor of plain LoRA"
				      : "is no factor, but a tensor saved whole";
}

static int refuse_tensor(
	const struct cwe_adapter *a, const char *name, const char *what, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EUNKNOWN,
		"%s: tensor \"%.200s\" %s, which is not supported; merge the adapter with PEFT "
		"first",
		a->file->input.path, name, what);
}

static int ends_with(const char *name, size_t n, const char *end)
{
	size_t k = strlen(end);

	return n >= k && !strncmp(name + n - k, end, k);
}

/* Whether a tensor is one that PEFT copies from the base model: <module>.weight of an embedding or
 * an output projection, or <module>.base_layer.weight of one that is adapted. *ret_length as below.
 */
static int is_copy(const char *name, size_t *ret_length)
{
	size_t n = strlen(name), skip = strlen(PREFIX);

	if (strncmp(name, PREFIX, skip) != 0 || !ends_with(name, n, WEIGHT))
		return 0;
	n -= strlen(WEIGHT);
	if (ends_with(name, n, ".base_layer"))
		n -= strlen(".base_layer");
	*ret_length = n > skip ? n - skip : 0;
	return n > skip && (ends_with(name, n, ".embed_tokens") || ends_with(name, n, ".lm_head"));
}

static int take_copy(struct cwe_adapter *a, const struct cwe_safetensors_entry *e, size_t length,
	struct cwb_err *err)
{
	struct cwe_adapter_copy *c = &a->copy[a->n_copies];

	c->entry = e;
	c->module = strndup(e->name + strlen(PREFIX), length);
	if (!c->module)
		return out_of_memory(a, err);
	a->n_copies++;
	return 0;
}

/* Takes <module>.lora_A.weight apart, where the adapter's name may stand before ".weight".
 * *ret_length: of the module's name behind PREFIX; *ret_b: whether it is factor B. */
static int take_apart(const struct cwe_adapter *a, const char *name, size_t *ret_length, int *ret_b,
	struct cwb_err *err)
{
	static const char *const factors[] = {".lora_A", ".lora_B"};
	size_t n = strlen(name), skip = strlen(PREFIX);

	if (strncmp(name, PREFIX, skip) != 0)
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: tensor \"%.200s\" does not begin with \"" PREFIX
			"\", so that PEFT would ignore it; save the adapter with PEFT's "
			"save_pretrained",
			a->file->input.path, name);
	if (!ends_with(name, n, WEIGHT))
		return refuse_tensor(a, name, reason(name), err);
	n -= strlen(WEIGHT);
	for (int pass = 0; pass < 2; pass++) {
		for (int f = 0; f < 2; f++) {
			size_t m = strlen(factors[f]);

			if (n > skip + m && ends_with(name, n, factors[f])) {
				*ret_length = n - m - skip;
				*ret_b = f;
				return 0;
			}
		}
		/* Without the adapter's name. */
		while (n > skip && name[n - 1] != '.')
			n--;
		n -= n > skip;
	}
	return refuse_tensor(a, name, reason(name), err);
}

/* The module that a factor belongs to: the last one, as names are sorted, or a new one. */
static int take_factor(
	struct cwe_adapter *a, const struct cwe_safetensors_entry *e, struct cwb_err *err)
{
	struct cwe_adapter_module *m = a->count ? &a->module[a->count - 1] : NULL;
	const char *name;
	size_t length = 0;
	int is_b = 0, rc = take_apart(a, e->name, &length, &is_b, err);

	if (rc)
		return rc;
	name = e->name + strlen(PREFIX);
	if (!m || !m->name || strlen(m->name) != length || strncmp(m->name, name, length) != 0) {
		m = &a->module[a->count];
		m->name = strndup(name, length);
		if (!m->name)
			return out_of_memory(a, err);
		a->count++;
	}
	if (is_b ? m->b : m->a)
		return cwb_err_set(err, CWP_EVALUE,
			"%s: module \"%.200s\" has its factor %c twice: \"%.200s\"; keep one "
			"adapter in a file",
			a->file->input.path, m->name, is_b ? 'B' : 'A', e->name);
	*(is_b ? &m->b : &m->a) = e;
	return 0;
}

static int check_factor(const struct cwe_adapter *a, const struct cwe_safetensors_entry *e, int at,
	uint64_t rank, struct cwb_err *err)
{
	if (!cwe_dtype_to_cwp(e->dtype))
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: tensor \"%.200s\" has dtype %s; factors are F32, F16 or BF16",
			a->file->input.path, e->name, cwe_dtype_name(e->dtype));
	if (e->rank != 2 || !e->shape[0] || !e->shape[1])
		return cwb_err_set(err, CWP_ESHAPE,
			"%s: tensor \"%.200s\" has %" PRIu32
			" dimensions or none of a size; a factor is a matrix",
			a->file->input.path, e->name, e->rank);
	if (e->shape[at] != rank)
		return cwb_err_set(err, CWP_ESHAPE,
			"%s: tensor \"%.200s\" has shape [%" PRIu64 ", %" PRIu64
			"], but " CWE_ADAPTER_CONFIG_FILE " gives the module rank %" PRIu64
			" (r, rank_pattern)",
			a->file->input.path, e->name, e->shape[0], e->shape[1], rank);
	return 0;
}

static int check_module(
	const struct cwe_adapter *a, struct cwe_adapter_module *m, struct cwb_err *err)
{
	int rc;

	if (!m->a || !m->b)
		return cwb_err_set(err, CWP_EMISSING,
			"%s: module \"%.200s\" has no factor %c (%s); save the adapter anew",
			a->file->input.path, m->name, m->a ? 'B' : 'A', m->a ? "lora_B" : "lora_A");
	rc = cwe_adapter_config_targets(a->config, m->name, err);
	if (rc < 0)
		return rc;
	if (!rc)
		return cwb_err_set(err, CWP_EVALUE,
			"%s: module \"%.200s\" has factors, but target_modules (with "
			"exclude_modules and "
			"layers_to_transform) of " CWE_ADAPTER_CONFIG_FILE
			" does not name it, so that PEFT would ignore them",
			a->file->input.path, m->name);
	rc = cwe_adapter_config_scale(a->config, m->name, &m->rank, &m->scale, err);
	if (!rc)
		rc = check_factor(a, m->a, 0, m->rank, err);
	if (!rc)
		rc = check_factor(a, m->b, 1, m->rank, err);
	return rc;
}

int cwe_adapter_read(const struct cwe_adapter *a, const struct cwe_safetensors_entry *e,
	uint64_t at, uint64_t n, float *dst, struct cwb_err *err)
{
	uint32_t dtype = cwe_dtype_to_cwp(e->dtype);
	uint64_t size = cwe_cwp_dtype_size(dtype);
	unsigned char piece[PIECE * 4];

	for (uint64_t count; n; n -= count, at += count, dst += count) {
		int rc;

		count = n < PIECE ? n : PIECE;
		rc = cwe_safetensors_read(a->file, e, at * size, piece, count * size, err);
		if (rc)
			return rc;
		cwe_f32_from_dtype(dst, piece, dtype, (size_t)count);
	}
	return 0;
}

static int open_file(struct cwe_adapter *a, struct cwb_err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/" CWE_ADAPTER_WEIGHTS_FILE, a->directory) < 0)
		return out_of_memory(a, err);
	if (access(path, F_OK) && errno == ENOENT)
		rc = cwb_err_set(err, CWP_EMISSING,
			"%s: no " CWE_ADAPTER_WEIGHTS_FILE
			"; save the adapter with safe_serialization=True "
			"(adapter_model.bin is not read)",
			a->directory);
	else
		rc = cwe_safetensors_open(path, &a->file, err);
	free(path);
	return rc;
}

static int read_modules(struct cwe_adapter *a, struct cwb_err *err)
{
	int rc = 0;

	a->module = calloc(a->file->count + 1, sizeof *a->module);
	a->copy = calloc(a->file->count + 1, sizeof *a->copy);
	if (!a->module || !a->copy)
		return out_of_memory(a, err);
	/* PEFT saves an embedding beside its factors: the factors say more. */
	for (size_t i = 0; i < a->file->count && !rc; i++) {
		const char *name = a->file->entries[i].name, *what = foreign(name);

		rc = what ? refuse_tensor(a, name, what, err) : 0;
	}
	for (size_t i = 0; i < a->file->count && !rc; i++) {
		const struct cwe_safetensors_entry *e = &a->file->entries[i];
		size_t length;

		rc = is_copy(e->name, &length) ? take_copy(a, e, length, err)
					       : take_factor(a, e, err);
	}
	if (!rc && !a->count)
		rc = cwb_err_set(err, CWP_EMISSING, "%s: holds no factors", a->file->input.path);
	for (size_t i = 0; i < a->count && !rc; i++)
		rc = check_module(a, &a->module[i], err);
	return rc;
}

int cwe_adapter_open(const char *directory, struct cwe_adapter **ret, struct cwb_err *err)
{
	struct cwe_adapter *a = calloc(1, sizeof *a);
	int rc;

	if (!a || !(a->directory = strdup(directory))) {
		free(a);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	}
	rc = cwe_adapter_config_read(directory, &a->config, err);
	if (!rc)
		rc = open_file(a, err);
	if (!rc)
		rc = read_modules(a, err);
	if (rc) {
		cwe_adapter_close(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void cwe_adapter_close(struct cwe_adapter *a)
{
	if (!a)
		return;
	for (size_t i = 0; a->module && i < a->count; i++)
		free(a->module[i].name);
	free(a->module);
	for (size_t i = 0; a->copy && i < a->n_copies; i++)
		free(a->copy[i].module);
	free(a->copy);
	cwe_safetensors_close(a->file);
	cwe_adapter_config_free(a->config);
	free(a->directory);
	free(a);
}
