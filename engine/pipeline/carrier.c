/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the carriers modules and adapter can hold of a mask. A super weight that nothing else protects takes its whole unit
 * with it (mask.c for columns and rows, here for modules). */
#include "engine/pipeline/carrier.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/format/overlay.h"
#include "engine/format/support.h"
#include "engine/model/linears.h"
#include "engine/pipeline/mask.h"
#include "engine/pipeline/over_rank.h"

#define NAMED 8 /* modules in one message */

static int refuse(struct cwb_err *err, int code, const char *field, const char *format, ...) __attribute__((format(printf, 4, 5)));

static int refuse(struct cwb_err *err, int code, const char *field, const char *format, ...)
{
	char text[sizeof err->message];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return cwe_run_place(err, cwb_err_set(err, code, "protect.%s: %s", field, text), 0, 0, "protect", field);
}

static const struct cwe_run_module *first_expert(const struct cwe_run *run)
{
	for (size_t i = 0; i < run->modules; i++) {
		if (run->module[i].quantized && cwe_module_is_expert(run->module[i].name)) {
			return &run->module[i];
		}
	}
	return NULL;
}

/* Engines load experts as one tensor: packed codes beside whole matrices are no form of it, and LoRA has no Linear there. */
static int check_experts(const struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_run_module *m = first_expert(run);
	if (m == NULL) {
		return 0;
	}
	if (run->job->carrier == CWJ_CARRIER_ADAPTER) {
		return refuse(err, CWP_EVALUE, "carrier", "no engine takes a LoRA adapter of experts such as %s: use carrier: overlay, "
			"or plugin fp8 with the experts in quantize.skip", m->name);
	}
	if (run->job->format == CWJ_FORMAT_COMPRESSED_TENSORS && m->grid.code != CWP_CODE_E4M3) {
		return refuse(err, CWP_EVALUE, "carrier", "no engine loads int codes of some experts beside others that are kept whole, such as "
			"%s: quantize with plugin fp8, or use carrier: overlay", m->name);
	}
	return 0;
}

int cwe_run_carrier_check(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	const struct cwe_format *format = cwe_format_find((int)job->format);
	int adapter = job->carrier == CWJ_CARRIER_ADAPTER;
	char carriers[96];
	if (!job->has_protect) {
		return 0;
	}
	if ((format->carriers & CWE_SET(job->carrier)) == 0) {
		cwe_format_carriers_text(format, carriers, sizeof carriers);
		return refuse(err, CWP_EVALUE, "carrier", "%s does not go with write.format: %s; use %s", cwe_carrier_name(job->carrier),
			format->name, carriers);
	}
	if (job->max_rank > 0 && !adapter) {
		return refuse(err, CWP_EVALUE, "max-rank", "is the largest rank of an adapter: use it with carrier: adapter");
	}
	if (job->over_rank == CWJ_OVER_RANK_KEEP_BEST && (job->max_rank == 0 || job->n_masks > 0)) {
		return refuse(err, CWP_EVALUE, "over-rank", job->max_rank == 0 ? "keep-best needs the rank to keep: write max-rank, such as 64"
			: "keep-best needs scores, which protect.mask has not: use over-rank: refuse");
	}
	if (!adapter && job->carrier != CWJ_CARRIER_MODULES) {
		return 0;
	}
	if (job->n_masks == 0 && !adapter && job->unit != CWJ_UNIT_MODULE) {
		return refuse(err, CWP_EVALUE, "carrier", "modules keeps whole modules, but protect.unit selects parts of them: use unit: "
			"module, or carrier: overlay");
	}
	if (job->n_masks == 0 && adapter && job->unit != CWJ_UNIT_COLUMN && job->unit != CWJ_UNIT_ROW) {
		return refuse(err, CWP_EVALUE, "carrier", "adapter holds whole columns or rows: use protect.unit: column or row, or carrier: "
			"overlay");
	}
	return check_experts(run, err);
}

static uint64_t count(const uint8_t *mask, const struct cwe_run_module *m)
{
	uint64_t stride = (m->cols + 7) / 8, n = 0;
	for (uint64_t r = 0; r < m->rows; r++) {
		n += cwe_overlay_count_row(mask + r * stride, m->cols);
	}
	return n;
}

/* The modules above the cap, as many as a line holds. */
struct above {
	size_t count, length;
	uint64_t most;
	char text[512];
};

static void note_rank(struct above *a, const struct cwe_run *run, const struct cwe_run_module *m, uint64_t rank)
{
	if (run->job->max_rank == 0 || rank <= run->job->max_rank) {
		return;
	}
	if (a->count < NAMED && a->length < sizeof a->text) {
		int n = snprintf(a->text + a->length, sizeof a->text - a->length, "%s%s (%" PRIu64 ")", a->count > 0 ? ", " : "", m->name,
			rank);
		a->length += n > 0 ? (size_t)n : 0;
	}
	a->count++;
	a->most = rank > a->most ? rank : a->most;
}

static int refuse_ranks(const struct cwe_run *run, const struct above *a, struct cwb_err *err)
{
	char more[64] = "";
	if (a->count == 0) {
		return 0;
	}
	if (a->count > NAMED) {
		(void)snprintf(more, sizeof more, " and %zu more", a->count - NAMED);
	}
	return refuse(err, CWP_EVALUE, "max-rank", "%" PRIu64 " is less than the rank of %s%s: protect a smaller fraction, or write at least "
		"%" PRIu64 "%s", run->job->max_rank, a->text, more, a->most, run->job->n_masks > 0 ? "" : " or over-rank: keep-best");
}

static int take_units(struct cwe_run *run, struct cwe_run_module *m, const uint8_t *mask, uint64_t set, struct above *above,
	struct cwb_err *err)
{
	uint64_t rank = 0;
	if (cwe_mask_shape(mask, (m->cols + 7) / 8, m->rows, m->cols, &rank) < 0) {
		return refuse(err, CWP_EVALUE, "carrier", "adapter holds whole columns or rows, but single weights of \"%s\" are protected: use "
			"carrier: overlay", m->name);
	}
	note_rank(above, run, m, rank);
	m->super_added = count(mask, m) - set;
	return 0;
}

/* All modules of a group are kept when one of them is. */
static void close_groups(struct cwe_run *run, uint8_t *whole, uint8_t *super)
{
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		size_t at = run->layer_at[m->layer], first = at + cwe_linear_group(&run->model.arch, m->layer, (uint32_t)(i - at));
		whole[first] |= whole[i];
		super[first] |= super[i];
	}
	for (size_t i = 0; i < run->modules; i++) {
		struct cwe_run_module *m = &run->module[i];
		size_t at = run->layer_at[m->layer], first = at + cwe_linear_group(&run->model.arch, m->layer, (uint32_t)(i - at));
		uint64_t n = m->rows * m->cols;
		m->kept = m->quantized && (whole[first] || super[first]);
		m->protected_weights = m->kept && whole[i] ? n : 0;
		m->super_added = m->kept && !whole[i] ? n : 0;
	}
}

static int take_module(const struct cwe_run_module *m, uint64_t set, uint8_t *whole, struct cwb_err *err)
{
	uint64_t n = m->rows * m->cols;
	if (set != 0 && set != n) {
		return refuse(err, CWP_EVALUE, "carrier", "modules keeps whole modules, but of \"%s\" %" PRIu64 " of %" PRIu64 " weights are "
			"protected: use carrier: overlay", m->name, set, n);
	}
	*whole = set == n;
	return 0;
}

/* Every module's mask once, in order. */
static int look(struct cwe_run *run, uint8_t *mask, uint8_t *whole, uint8_t *super, struct cwb_err *err)
{
	struct cwe_mask_reader reader = {.tiles.journal = -1, .scores.tile.fd = -1};
	struct above above = {0};
	int adapter = run->job->carrier == CWJ_CARRIER_ADAPTER;
	int r = cwe_mask_reader_open(run, &reader, err);
	for (size_t i = 0; r == 0 && i < run->modules; i++) {
		struct cwe_run_module *m = &run->module[i];
		uint64_t set = 0;
		r = cwe_mask_reader_next(&reader, m, mask, &set, err);
		if (r == 0 && m->quantized) {
			super[i] = m->super_added > 0;
			m->over_rank = reader.dropped;
			r = adapter ? take_units(run, m, mask, set, &above, err) : take_module(m, set, &whole[i], err);
		}
		r = r == 0 ? cwe_run_cancelled(run, err) : r;
	}
	cwe_mask_reader_close(&reader);
	r = r == 0 ? refuse_ranks(run, &above, err) : r;
	return r == 0 ? cwe_over_rank_report(run, err) : r;
}

int cwe_run_carrier(struct cwe_run *run, struct cwb_err *err)
{
	if (!run->protecting || (run->job->carrier != CWJ_CARRIER_ADAPTER && run->job->carrier != CWJ_CARRIER_MODULES)) {
		return 0;
	}
	uint8_t *mask = malloc(cwe_run_mask_bytes(run)), *whole = calloc(run->modules + 1, 1), *super = calloc(run->modules + 1, 1);
	int r = mask != NULL && whole != NULL && super != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
	r = r == 0 ? look(run, mask, whole, super, err) : r;
	if (r == 0 && run->job->carrier == CWJ_CARRIER_MODULES) {
		close_groups(run, whole, super);
	}
	free(mask);
	free(whole);
	free(super);
	return r;
}

void cwe_run_carrier_end(struct cwe_run *run, const struct cwe_writer *writer)
{
	const struct cwp_host *host = &run->p->host->table;
	const struct cwe_writer_adapter *a = &run->adapter;
	char line[256];
	cwe_writer_adapter(writer, &run->adapter);
	if (a->modules > 0) {
		(void)snprintf(line, sizeof line, "adapter: %" PRIu64 " modules, %" PRIu64 " of them exact in bf16, ranks up to %" PRIu64
			"; what base and adapter lack to the protected weights: at most %.3g, rms %.3g", a->modules, a->exact, a->rank, a->largest,
			a->rms);
		host->log(host->ctx, CWP_LOG_INFO, line);
	}
}

json_t *cwe_adapter_json(const struct cwe_writer_adapter *a)
{
	return json_pack("{s:I,s:I,s:I,s:{s:f,s:f}}", "modules", (json_int_t)a->modules, "exact_modules", (json_int_t)a->exact, "rank",
		(json_int_t)a->rank, "error", "largest", a->largest, "rms", a->rms);
}

json_t *cwe_run_adapter_json(const struct cwe_run *run)
{
	json_t *all = run->job->carrier != CWJ_CARRIER_ADAPTER || !run->job->has_protect ? NULL : cwe_adapter_json(&run->adapter);
	json_t *lost = all != NULL ? cwe_over_rank_json(run) : NULL;
	if (lost != NULL) {
		(void)json_object_set_new(all, "over_rank", lost);
	}
	return all;
}

json_t *cwe_run_kept_json(const struct cwe_run *run)
{
	json_t *a = run->job->has_protect && run->job->carrier == CWJ_CARRIER_MODULES ? json_array() : NULL;
	for (size_t i = 0; a != NULL && i < run->modules; i++) {
		if (run->module[i].kept) {
			(void)json_array_append_new(a, json_string(run->module[i].name));
		}
	}
	return a;
}
