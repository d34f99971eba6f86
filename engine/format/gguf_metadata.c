/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Metadata of a GGUF file that is written: taken over from a GGUF source, or made of a checkpoint's texts and then read back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/gguf_describe.h"
#include "engine/format/gguf_output.h"
#include "engine/format/gguf_tokens.h"

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "metadata of %s: out of memory", CWE_GGUF_FILE);
}

void cwe_gguf_more_free(struct cwe_gguf_more *more, size_t count)
{
	for (size_t i = 0; more && i < count; i++) {
		free(more[i].plan.name);
		free(more[i].data);
	}
	free(more);
}

static int make_more(struct cwe_gguf_more *more, const char *name, uint64_t count, struct cwb_err *err)
{
	*more = (struct cwe_gguf_more){.plan = {.name = strdup(name), .type = CWE_GGUF_TYPE_F32, .rank = 1, .dims = {count, 1}},
		.data = calloc(count, sizeof(float)), .bytes = count * sizeof(float)};
	return more->plan.name && more->data ? 0 : no_memory(err);
}

/* ---- of a GGUF file ---- */

/* Keys that say how the source's own tensors are stored, or how they were quantized. */
static int is_of_storage(const char *key)
{
	static const char *const names[] = {"general.alignment", "general.file_type", "general.quantization_version"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(key, names[i]))
			return 1;
	return !strncmp(key, "split.", 6) || !strncmp(key, "quantize.", 9);
}

static int carry_tensor(const struct cwe_gguf *g, const struct cwe_gguf_tensor *t, struct cwe_gguf_more *more, struct cwb_err *err)
{
	int rc;

	if (t->type != CWE_GGUF_TYPE_F32 || t->rank != 1)
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\" is no list of F32 factors", g->input.path, t->name);
	rc = make_more(more, t->name, t->dims[0], err);
	return rc ? rc : cwe_input_read(&g->input, t->offset, more->data, more->bytes, err);
}

static int carry(const struct cwe_gguf *g, struct cwe_gguf_keys *k, struct cwe_gguf_more *more, size_t *ret_count,
	struct cwb_err *err)
{
	static const char *const names[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};
	int rc = 0;

	for (size_t i = 0; i < g->values_count; i++)
		if (!is_of_storage(g->values[i].key))
			cwe_gguf_keys_value(k, &g->values[i]);
	for (size_t i = 0; i < sizeof names / sizeof *names && !rc; i++) {
		const struct cwe_gguf_tensor *t = cwe_gguf_find(g, names[i]);

		if (t)
			rc = carry_tensor(g, t, &more[(*ret_count)++], err);
	}
	return rc;
}

/* ---- of a checkpoint ---- */

static int read_arch(const json_t *config, struct cwe_arch **ret, struct cwb_err *err)
{
	struct cwe_arch *a = malloc(sizeof *a);
	int rc = a ? cwe_arch_read(config, a, err) : no_memory(err);

	if (rc)
		free(a);
	else
		*ret = a;
	return rc;
}

static int describe(struct cwe_source *source, struct cwe_gguf_keys *k, struct cwe_gguf_more *more, size_t *ret_count,
	struct cwb_err *err)
{
	struct cwe_gguf_factors *factors = calloc(CWE_GGUF_FACTORS_MAX, sizeof *factors);
	const struct cwe_tensor *embedding = cwe_weights_find(source->weights, "model.embed_tokens.weight");
	struct cwe_arch *a = NULL;
	size_t n = 0;
	int rc = factors ? read_arch(source->config, &a, err) : no_memory(err);

	if (!rc && !embedding)
		rc = cwb_err_set(err, CWP_EMISSING, "the model has no tensor \"model.embed_tokens.weight\"");
	if (!rc && !a->tied && !cwe_weights_find(source->weights, "lm_head.weight"))
		rc = cwb_err_set(err, CWP_EMISSING, "the model has no tensor \"lm_head.weight\"");
	if (!rc)
		cwe_gguf_describe(a, cwe_gguf_family_find(a->family), k, factors, &n);
	for (size_t i = 0; i < n && !rc; i++) {
		rc = make_more(&more[(*ret_count)++], factors[i].name, factors[i].count, err);
		if (!rc)
			memcpy(more[i].data, factors[i].x, more[i].bytes);
	}
	if (!rc)
		rc = cwe_gguf_tokens_add(source, embedding->shape[0], k, err);
	free(a);
	free(factors);
	return rc;
}

/* ---- both ---- */

/* What most tensors are, in llama.cpp's numbers: it is only shown. */
static uint32_t file_type(const struct cwe_gguf_plan *plan, size_t count)
{
	static const struct {
		uint32_t type, number;
	} kinds[] = {{CWE_GGUF_TYPE_Q4_0, 2}, {CWE_GGUF_TYPE_Q8_0, 7}, {CWE_GGUF_TYPE_BF16, 32}, {CWE_GGUF_TYPE_F16, 1}};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (size_t i = 0; i < count; i++)
			if (plan[i].type == kinds[k].type)
				return kinds[k].number;
	return 0;
}

int cwe_gguf_metadata(struct cwe_source *source, const struct cwe_gguf_plan *plan, size_t count, struct cwe_gguf_keys *k,
	struct cwe_gguf_more **ret, size_t *ret_count, struct cwb_err *err)
{
	struct cwe_gguf_more *more = calloc(3, sizeof *more);
	const struct cwe_gguf *g = cwe_source_gguf(source);
	size_t n = 0;
	int rc = !more ? no_memory(err) : g ? carry(g, k, more, &n, err) : describe(source, k, more, &n, err);

	if (rc) {
		cwe_gguf_more_free(more, n);
		return rc;
	}
	cwe_gguf_keys_u32(k, "general.file_type", file_type(plan, count));
	cwe_gguf_keys_u32(k, "general.quantization_version", 2);
	*ret = more;
	*ret_count = n;
	return 0;
}

/* Header and extra tensors of a file that is otherwise a hole. */
static int pretend(const struct cwe_gguf_output *o, struct cwe_gguf **ret, struct cwb_err *err)
{
	int fd = memfd_create(CWE_GGUF_FILE, MFD_CLOEXEC), rc = 0;

	if (fd < 0 || ftruncate(fd, (off_t)o->layout.size))
		rc = cwb_err_errno(err, "metadata of %s: no file in memory", CWE_GGUF_FILE);
	if (!rc)
		rc = cwb_file_pwrite(fd, o->layout.header, o->layout.header_bytes, 0, CWE_GGUF_FILE, err);
	for (size_t i = 0; i < o->n_extra && !rc; i++)
		rc = cwb_file_pwrite(fd, o->extra[i].data, o->extra[i].bytes, o->layout.offset[o->extra[i].tensor], CWE_GGUF_FILE, err);
	if (!rc)
		return cwe_gguf_adopt(fd, CWE_GGUF_FILE, ret, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

int cwe_gguf_metadata_check(struct cwe_source *source, const struct cwe_gguf_output *o, struct cwb_err *err)
{
	struct cwe_arch *wanted = NULL, *found = NULL;
	struct cwe_gguf *g = NULL;
	json_t *config = NULL;
	int rc = pretend(o, &g, err);

	if (!rc)
		rc = cwe_gguf_config(g, &config, err);
	if (!rc && !cwe_source_gguf(source)) {
		rc = read_arch(source->config, &wanted, err);
		if (!rc)
			rc = read_arch(config, &found, err);
		if (!rc)
			rc = cwe_gguf_same_arch(wanted, found, err);
		if (!rc)
			rc = cwe_gguf_tokens_check(source, g, err);
	}
	cwe_gguf_close(g);
	json_decref(config);
	free(wanted);
	free(found);
	return rc;
}
