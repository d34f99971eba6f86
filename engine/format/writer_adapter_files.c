/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The folder adapter/ of an output, made of the pieces when all ranks are known: doc/adapter.md describes every byte. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/adapter.h"
#include "engine/format/writer_state.h"

#define PREFIX "base_model.model."

static int nomem(const struct cwe_writer_unit *u, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
}

/* The two factors of a module, the selector first. */
static int plan_unit(const struct cwe_writer_unit *u, struct cwe_safetensors_plan plan[2], struct cwb_err *err)
{
	const uint64_t rows = u->source->shape[0], cols = u->source->shape[1], rank = u->pair.rank;
	char *a, *b;

	if (asprintf(&a, PREFIX "%s.lora_A.weight", u->module) < 0)
		return nomem(u, err);
	if (asprintf(&b, PREFIX "%s.lora_B.weight", u->module) < 0) {
		free(a);
		return nomem(u, err);
	}
	plan[u->pair.by_row] = (struct cwe_safetensors_plan){.name = a, .rank = 2, .shape = {rank, cols}};
	plan[!u->pair.by_row] = (struct cwe_safetensors_plan){.name = b, .rank = 2, .shape = {rows, rank}};
	plan[0].dtype = CWE_DTYPE_BF16; /* holds 0 and 1 */
	plan[1].dtype = u->pair.dtype;
	return 0;
}

#define ONE 0x3f80u /* 1 in BF16 */

/* Rows of a selector: A [rank, cols] has a 1 in each row, B [rows, rank] one in each column. */
static int put_selector(struct cwe_writer *w, const struct cwe_writer_unit *u, struct cwe_safetensors_writer *to, size_t i,
	struct cwb_err *err)
{
	uint64_t rank = u->pair.rank, height = u->pair.by_row ? u->source->shape[0] : rank, row, k = 0;
	uint64_t width = u->pair.by_row ? rank : u->source->shape[1];
	uint16_t *line = malloc(width * sizeof *line);
	uint32_t *index = malloc(rank * sizeof *index);
	int rc = line && index ? 0 : nomem(u, err);

	if (!rc)
		rc = cwb_file_pread(w->pieces, index, 4 * rank, u->piece, CWE_WRITER_PIECES, err);
	for (row = 0; row < height && !rc; row++) {
		memset(line, 0, width * sizeof *line);
		if (!u->pair.by_row && le32toh(index[row]) < width)
			line[le32toh(index[row])] = htole16(ONE);
		else if (u->pair.by_row && k < rank && le32toh(index[k]) == row)
			line[k++] = htole16(ONE);
		rc = cwe_safetensors_writer_write(to, i, row * width * sizeof *line, line, width * sizeof *line, err);
	}
	free(index);
	free(line);
	return rc;
}

static int put_residual(struct cwe_writer *w, const struct cwe_writer_unit *u, struct cwe_safetensors_writer *to, size_t i,
	struct cwb_err *err)
{
	uint64_t from = u->piece + 4 * u->pair.rank, bytes = cwe_writer_pair_bytes(u) - 4 * u->pair.rank, at, n;
	uint8_t *buffer = malloc(1u << 20);
	int rc = buffer ? 0 : nomem(u, err);

	for (at = 0; at < bytes && !rc; at += n) {
		n = bytes - at < 1u << 20 ? bytes - at : 1u << 20;
		rc = cwb_file_pread(w->pieces, buffer, n, from + at, CWE_WRITER_PIECES, err);
		if (!rc)
			rc = cwe_safetensors_writer_write(to, i, at, buffer, n, err);
	}
	free(buffer);
	return rc;
}

static int put_file(struct cwe_writer *w, struct cwe_adapter_files *f, struct cwb_err *err)
{
	const struct cwe_safetensors_text text = {CWE_ADAPTER_KEY, CWE_ADAPTER_VERSION};
	struct cwe_safetensors_plan *plan = calloc(2 * w->count + 2, sizeof *plan);
	size_t n = 0, i;
	int rc = plan ? 0 : cwb_err_set(err, -ENOMEM, "adapter: out of memory");

	for (i = 0; i < w->count && !rc; i++) {
		if (!w->unit[i].pair.rank)
			continue;
		rc = plan_unit(&w->unit[i], plan + n, err);
		n += rc ? 0 : 2;
	}
	if (!rc)
		rc = cwe_safetensors_writer_new(f->folder, CWE_ADAPTER_WEIGHTS_FILE, 0, plan, n, &text, 1, &f->file, NULL, err);
	for (i = 0, n = 0; i < w->count && !rc; i++) {
		if (!w->unit[i].pair.rank)
			continue;
		rc = put_selector(w, &w->unit[i], f->file, n, err);
		if (!rc)
			rc = put_residual(w, &w->unit[i], f->file, n + 1, err);
		n += 2;
	}
	for (i = 0; plan && i < 2 * w->count; i++)
		free((char *)plan[i].name);
	free(plan);
	return rc;
}

/* r and lora_alpha are the largest rank, so that the factors' product counts once in engines that know no patterns; both
 * patterns name what has another. */
static int put_config(const struct cwe_writer *w, struct cwe_adapter_files *f, struct cwb_err *err)
{
	json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object(), *config;
	struct cwe_writer_adapter all;
	size_t i;
	int rc;

	cwe_writer_adapter(w, &all);
	for (i = 0; i < w->count; i++) {
		const struct cwe_writer_unit *u = &w->unit[i];

		if (!u->pair.rank)
			continue;
		json_array_append_new(targets, json_string(u->module));
		if (u->pair.rank == all.rank)
			continue;
		json_object_set_new(ranks, u->module, json_integer((json_int_t)u->pair.rank));
		json_object_set_new(alphas, u->module, json_integer((json_int_t)u->pair.rank));
	}
	config = json_pack("{s:s,s:s,s:b,s:I,s:I,s:o,s:o,s:o,s:s,s:f,s:b,s:b,s:b}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
		"inference_mode", 1, "r", (json_int_t)all.rank, "lora_alpha", (json_int_t)all.rank, "target_modules", targets,
		"rank_pattern", ranks, "alpha_pattern", alphas, "bias", "none", "lora_dropout", 0.0, "fan_in_fan_out", 0, "use_rslora", 0,
		"use_dora", 0);
	rc = config ? cwe_texts_add_json(&f->texts, CWE_ADAPTER_CONFIG_FILE, config, err) :
		      cwb_err_set(err, -ENOMEM, "adapter: out of memory");
	json_decref(config);
	return rc;
}

int cwe_writer_adapter_begin(struct cwe_writer *w, struct cwe_adapter_files *f, struct cwb_err *err)
{
	struct cwe_writer_adapter all;
	int rc = cwe_writer_adapter_remove(w, err);

	cwe_writer_adapter(w, &all);
	if (rc || !all.modules)
		return rc;
	if (mkdirat(w->folder, CWE_OUTPUT_ADAPTER, 0777))
		return cwb_err_errno(err, CWE_OUTPUT_ADAPTER "/: cannot be made");
	f->folder = openat(w->folder, CWE_OUTPUT_ADAPTER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (f->folder < 0)
		return cwb_err_errno(err, CWE_OUTPUT_ADAPTER "/: cannot be opened");
	cwe_texts_begin(&f->texts, f->folder);
	rc = put_file(w, f, err);
	if (!rc)
		rc = put_config(w, f, err);
	return rc;
}

int cwe_writer_adapter_publish(struct cwe_adapter_files *f, struct cwb_err *err)
{
	int rc;

	if (f->folder < 0)
		return 0;
	rc = cwe_safetensors_writer_publish(f->file, err);
	if (!rc)
		rc = cwe_texts_commit(&f->texts, err);
	return rc ? rc : cwb_file_sync_folder(f->folder, CWE_OUTPUT_ADAPTER, err);
}

int cwe_writer_adapter_remove(const struct cwe_writer *w, struct cwb_err *err)
{
	return faccessat(w->folder, CWE_OUTPUT_ADAPTER, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT
		       ? 0 : cwb_file_remove_tree(w->folder, CWE_OUTPUT_ADAPTER, err);
}

int cwe_writer_adapter_there(const struct cwe_writer *w)
{
	size_t i;

	for (i = 0; i < w->count; i++)
		if (w->unit[i].pair.rank)
			return !faccessat(w->folder, CWE_OUTPUT_ADAPTER "/" CWE_ADAPTER_CONFIG_FILE, F_OK, AT_SYMLINK_NOFOLLOW);
	return 1;
}

void cwe_writer_adapter_end(struct cwe_adapter_files *f)
{
	if (f->folder < 0)
		return;
	cwe_safetensors_writer_free(f->file);
	cwe_texts_abort(&f->texts);
	close(f->folder);
}
