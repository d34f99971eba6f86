/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writer's journal: a text file beside the unfinished tensor files. Its first line says which layout they have; then
 * comes one line for each module whose bytes are on the disk, several at a time:
 *     module <number> <protected weights> <overlay kind> <values> <gaps> <escapes> <offset of its overlay piece>
 * with an adapter, before it, one for the factors in its piece:
 *     pair <number> <by row> <rank> <bytes of an element> <largest error> <sum of squared errors> <offset>
 * and "end" when all files have their names. A torn last line does not count. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "engine/format/writer_state.h"

#define JOURNAL_MAX (64u << 20)
/* As much work as a kill may undo. A sync for each module took longer than quantizing it. */
#define SYNC_SECONDS 5

/* SHA-256 over everything that decides where which bytes lie. */
static int layout_digest(const struct cwe_writer *w, char ret_hex[CWB_DIGEST_HEX])
{
	struct cwb_digest d;
	size_t i;
	int rc = cwb_digest_begin(&d);

	if (rc)
		return rc;
	for (i = 0; i < w->n_plan; i++) {
		const struct cwe_safetensors_plan *p = &w->plan[i];

		cwb_digest_update(&d, p->name, strlen(p->name) + 1);
		cwb_digest_update(&d, &p->dtype, sizeof p->dtype);
		cwb_digest_update(&d, p->shape, p->rank * sizeof *p->shape);
	}
	cwb_digest_update(&d, w->gguf.header, strlen(w->gguf.header));
	for (i = 0; i < w->count; i++) {
		const struct cwp_grid *g = &w->unit[i].grid;
		uint32_t fields[] = {g->code, g->bits, g->symmetric, g->granularity, g->group, g->block_rows, g->activation,
			g->activation_group, g->exact_scales, g->input_zero};

		cwb_digest_update(&d, fields, sizeof fields);
	}
	cwb_digest_update(&d, &w->format->id, sizeof w->format->id);
	cwb_digest_update(&d, &w->overlay, sizeof w->overlay);
	cwb_digest_update(&d, &w->exact, sizeof w->exact);
	cwb_digest_update(&d, &w->adapter, sizeof w->adapter);
	return cwb_digest_end_hex(&d, ret_hex);
}

static int header_line(const struct cwe_writer *w, char *ret, size_t size, struct cwb_err *err)
{
	char hex[CWB_DIGEST_HEX];
	int rc = layout_digest(w, hex);

	if (rc)
		return cwb_err_set(err, rc, "digest of the layout: out of memory");
	snprintf(ret, size, "cwp-writer 1 %s\n", hex);
	return 0;
}

/* The factors of a module, which counts once its own line follows. */
static int take_pair(struct cwe_writer *w, const char *line)
{
	struct cwe_writer_pair p = {0};
	struct cwe_writer_unit *u;
	uint64_t number, piece, size;
	unsigned by_row, bytes;

	if (sscanf(line, "pair %" SCNu64 " %u %" SCNu64 " %u %la %la %" SCNu64, &number, &by_row, &p.rank, &bytes, &p.largest,
		    &p.squares, &piece) != 7)
		return -1;
	if (number >= w->count || !w->unit[number].module || by_row > 1 || (bytes != 2 && bytes != 4))
		return -1;
	u = &w->unit[number];
	if (!w->adapter || !p.rank || p.rank > u->source->shape[by_row ? 0 : 1])
		return -1;
	p.by_row = (int)by_row;
	p.dtype = bytes == 2 ? CWE_DTYPE_BF16 : CWE_DTYPE_F32;
	u->pair = p;
	u->piece = piece;
	if (__builtin_add_overflow(piece, cwe_writer_pair_bytes(u), &size) || size > INT64_MAX)
		return -1;
	if (size > w->pieces_size)
		w->pieces_size = size;
	return 0;
}

/* One line "module ..."; -1 when it says what cannot be. */
static int take_line(struct cwe_writer *w, const char *line)
{
	struct cwe_overlay_plan p = {0};
	struct cwe_writer_unit *u;
	uint64_t number, kept, piece, size = 0;
	unsigned kind;

	if (!strcmp(line, "end")) {
		w->finished = 1;
		return 0;
	}
	if (!strncmp(line, "pair ", 5))
		return take_pair(w, line);
	if (sscanf(line, "module %" SCNu64 " %" SCNu64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &number, &kept,
		    &kind, &p.values, &p.gaps, &p.escapes, &piece) != 7)
		return -1;
	if (number >= w->count || kind > CWE_OVERLAY_BITMAP || !w->unit[number].module)
		return -1;
	u = &w->unit[number];
	p.kind = (enum cwe_overlay_kind)kind;
	p.rows = u->source->shape[0];
	p.cols = u->source->shape[1];
	if (kept > p.rows * p.cols || p.values > p.rows * p.cols || p.gaps < p.values || p.gaps > p.rows * p.cols || p.escapes != p.gaps - p.values)
		return -1;
	p.bytes = cwe_overlay_plan_bytes(&p, cwe_writer_overlay_size(w, u));
	if (p.values && (w->overlay || w->mask) && (__builtin_add_overflow(piece, p.bytes, &size) || size > INT64_MAX))
		return -1;
	u->done = 1;
	u->protected_weights = kept;
	u->has_overlay = (w->overlay || w->mask) && p.values;
	u->overlay = p;
	u->piece = piece;
	if (u->has_overlay && size > w->pieces_size)
		w->pieces_size = size;
	return 0;
}

int cwe_writer_journal_open(struct cwe_writer *w, int *ret_resume, struct cwb_err *err)
{
	struct cwb_err local = {0};
	char *text = NULL, *line, *end, header[128];
	size_t length;
	int rc = header_line(w, header, sizeof header, err);

	*ret_resume = 0;
	if (rc || cwb_file_read_at(w->folder, CWE_WRITER_JOURNAL, JOURNAL_MAX, &text, &length, &local))
		return rc;
	if (!strncmp(text, header, strlen(header))) {
		*ret_resume = 1;
		for (line = text + strlen(header); *ret_resume && (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			*ret_resume = take_line(w, line) == 0;
		}
	}
	free(text);
	return 0;
}

static int append(struct cwe_writer *w, const char *line, struct cwb_err *err)
{
	return cwb_file_write(w->journal, line, strlen(line), CWE_WRITER_JOURNAL, err);
}

static int sync_journal(struct cwe_writer *w, struct cwb_err *err)
{
	(void)clock_gettime(CLOCK_MONOTONIC, &w->synced);
	return fdatasync(w->journal) ? cwb_err_errno(err, "%s: could not be brought to the disk", CWE_WRITER_JOURNAL) : 0;
}

static int append_unit(struct cwe_writer *w, const struct cwe_writer_unit *u, struct cwb_err *err)
{
	char line[480];
	int n = 0;

	if (u->pair.rank)
		n = snprintf(line, sizeof line, "pair %zu %d %" PRIu64 " %u %a %a %" PRIu64 "\n", (size_t)(u - w->unit), u->pair.by_row,
			u->pair.rank, cwe_dtype_bits(u->pair.dtype) / 8, u->pair.largest, u->pair.squares, u->piece);
	snprintf(line + n, sizeof line - (size_t)n, "module %zu %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (size_t)(u - w->unit),
		u->protected_weights, (unsigned)u->overlay.kind, u->overlay.values, u->overlay.gaps, u->overlay.escapes, u->piece);
	return append(w, line, err);
}

int cwe_writer_journal_begin(struct cwe_writer *w, int resume, struct cwb_err *err)
{
	char line[160];
	size_t i;
	int rc = header_line(w, line, sizeof line, err);

	if (rc)
		return rc;
	for (i = 0; i < w->count; i++) {
		if (!resume)
			w->unit[i].done = w->unit[i].has_overlay = 0;
		if (!w->unit[i].done)
			w->unit[i].pair = (struct cwe_writer_pair){0};
	}
	if (!resume)
		w->finished = 0, w->pieces_size = 0;
	w->journal = openat(w->folder, CWE_WRITER_JOURNAL, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (w->journal < 0)
		return cwb_err_errno(err, "%s: cannot be made", CWE_WRITER_JOURNAL);
	/* Written anew, so that no torn line stays in the middle. */
	rc = cwb_file_write(w->journal, line, strlen(line), CWE_WRITER_JOURNAL, err);
	for (i = 0; i < w->count && !rc; i++)
		if (w->unit[i].done)
			rc = append_unit(w, &w->unit[i], err);
	if (!rc && w->finished)
		rc = append(w, "end\n", err);
	return rc ? rc : sync_journal(w, err);
}

/* The data first, then the lines that vouch for them. */
int cwe_writer_sync(struct cwe_writer *w, struct cwb_err *err)
{
	size_t i, n = 0;
	int rc;

	if (!w->waiting || w->finished)
		return 0;
	rc = w->is_gguf ? cwe_gguf_writer_sync(w->gguf_file, err) : cwe_shards_sync(w->shards, err);
	for (i = 0; i < w->count && !rc; i++) {
		struct cwe_writer_unit *u = &w->unit[i];

		if (!u->waiting)
			continue;
		rc = append_unit(w, u, err);
		u->waiting = 0;
		n++;
	}
	w->waiting -= n;
	return rc ? rc : sync_journal(w, err);
}

int cwe_writer_journal_module(struct cwe_writer *w, struct cwe_writer_unit *u, struct cwb_err *err)
{
	struct timespec now;

	w->waiting += !u->waiting;
	u->waiting = 1;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - w->synced.tv_sec < SYNC_SECONDS ? 0 : cwe_writer_sync(w, err);
}

int cwe_writer_journal_end(struct cwe_writer *w, struct cwb_err *err)
{
	int rc = append(w, "end\n", err);

	return rc ? rc : sync_journal(w, err);
}
