/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Looking tokens up in the embedding matrix. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model_p.h"
#include "engine/model/ops.h"
#include "engine/model/reading.h"

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Tokens in the order of their ids, so that each row is read once: (id << 32 | place). */
static uint64_t *sort_tokens(const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	uint64_t *order = count <= UINT32_MAX ? malloc(count * sizeof *order + 1) : NULL;
	if (order == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", count);
		return NULL;
	}
	for (uint64_t i = 0; i < count; i++) {
		order[i] = (uint64_t)id[i] << 32 | i;
	}
	qsort(order, count, sizeof *order, by_id);
	return order;
}

/* Tokens that one thread looks up at a time. */
#define EMBED_TOKENS 256

struct embedding {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	const uint64_t *order;
	uint64_t count;
	float *x;
	struct cwb_err *err; /* of each piece */
};

/* Rows of the embedding in their places, times the family's factor; ids that follow one another are read once. */
static void embed_piece(void *arg, size_t piece)
{
	const struct embedding *e = arg;
	const uint64_t *order = e->order;
	float scale = e->m->arch.embedding_scale;
	uint64_t d = e->m->arch.hidden, first = piece * EMBED_TOKENS, left = e->count - first;
	uint64_t end = first + (left < EMBED_TOKENS ? left : EMBED_TOKENS);
	int r = 0;
	for (uint64_t i = first; r == 0 && i < end; i++) {
		float *to = e->x + (order[i] & UINT32_MAX) * d;
		if (i > first && order[i] >> 32 == order[i - 1] >> 32) {
			memcpy(to, e->x + (order[i - 1] & UINT32_MAX) * d, d * sizeof *to);
			continue;
		}
		r = cwe_model_read_host(e->m, e->t, order[i] >> 32, 1, to, &e->err[piece]);
		for (uint64_t k = 0; scale != 1 && r == 0 && k < d; k++) {
			to[k] *= scale;
		}
	}
}

static int embed_host(struct cwe_model *m, const struct cwe_tensor *t, const uint64_t *order, uint64_t count, float *x,
	struct cwb_err *err)
{
	const struct cwp_host *host = &m->device->host->table;
	uint64_t pieces = (count + EMBED_TOKENS - 1) / EMBED_TOKENS;
	struct embedding e = {m, t, order, count, x, calloc(pieces + 1, sizeof *e.err)};
	if (e.err == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for embeddings");
	}
	if (pieces == 1) {
		embed_piece(&e, 0);
	} else {
		host->parallel_for(host->ctx, pieces, embed_piece, &e);
	}
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < pieces; i++) {
		r = e.err[i].code != 0 ? cwb_err_set(err, e.err[i].code, "%s", e.err[i].message) : 0;
	}
	free(e.err);
	return r;
}

/* Rows in the order of the tokens, as they are stored, or times the family's factor. */
struct lookup {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	const uint32_t *id;
	uint32_t dtype;
	uint64_t bytes; /* of a row */
	float *d_x;
};

static int look_up(const struct lookup *l, uint64_t token, char *raw, struct cwb_err *err)
{
	uint64_t d = l->m->arch.hidden;
	if (l->dtype == l->t->dtype && l->m->arch.embedding_scale == 1) {
		int r = cwe_weights_read_raw(l->m->weights, l->t, l->id[token], 1, raw, err);
		return r == 0 ? cwe_model_check_finite(l->m, l->t, l->id[token], raw, l->dtype, d, err) : r;
	}
	float *x = (float *)(void *)raw;
	int r = cwe_model_read_host(l->m, l->t, l->id[token], 1, x, err);
	for (uint64_t k = 0; r == 0 && k < d; k++) {
		x[k] *= l->m->arch.embedding_scale;
	}
	return r;
}

static int bring_tokens(void *arg, uint64_t first, uint64_t n, void *raw, struct cwb_err *err)
{
	const struct lookup *l = arg;
	uint64_t d = l->m->arch.hidden;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		r = look_up(l, first + i, (char *)raw + i * l->bytes, err);
	}
	return r == 0 ? cwe_model_load(l->m, l->d_x + first * d, raw, l->dtype, n * d, err) : r;
}

/* Threads send rows on as they find them. */
static int embed_beside(struct cwe_model *m, const struct cwe_tensor *t, const uint32_t *id, uint64_t count, float *d_x,
	struct cwb_err *err)
{
	struct lookup l = {m, t, id, m->arch.embedding_scale == 1 ? t->dtype : CWP_F32, 0, d_x};
	l.bytes = m->arch.hidden * (l.dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t));
	const struct cwe_reading_part part = {.rows = count, .step = l.bytes < CWE_STEP ? CWE_STEP / l.bytes : 1, .row_bytes = l.bytes, .arg = &l};
	const struct cwe_reading reading = {.part = &part, .parts = 1, .threads = m->device->host->table.threads, .run = bring_tokens};
	int r = cwe_device_load_begin(m->device, err);
	if (r == 0) {
		r = cwe_reading_run(&reading, err);
		int waited = cwe_device_load_wait(m->device, r == 0 ? err : NULL);
		r = r == 0 ? waited : r;
	}
	return r;
}

static int embed_ordered(struct cwe_model *m, const struct cwe_tensor *t, const uint32_t *id, uint64_t count, float *d_x,
	struct cwb_err *err)
{
	int remote = cwe_device_remote(m->device);
	uint64_t n = count * m->arch.hidden, *order = sort_tokens(id, count, err);
	if (order == NULL) {
		return -ENOMEM;
	}
	float *x = remote ? malloc(n * sizeof *x + 1) : d_x;
	int r = x != NULL ? embed_host(m, t, order, count, x, err) : cwb_err_set(err, -ENOMEM, "no memory for embeddings");
	if (remote) {
		r = r == 0 ? CWE_OP(m->device, upload, d_x, x, n * sizeof *x) : r;
		free(x);
	}
	free(order);
	return r;
}

int cwe_model_embed(struct cwe_model *m, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	const struct cwe_tensor *t = cwe_weights_find(m->weights, name);
	for (uint64_t i = 0; i < count; i++) {
		if (id[i] >= m->arch.vocabulary) {
			return cwb_err_set(err, CWP_EVALUE, "token id %" PRIu32 " is not in the model's vocabulary of %" PRIu32, id[i],
				m->arch.vocabulary);
		}
	}
	/* A layer may be on its way already, and few tokens are not worth threads. */
	int beside = cwe_device_remote(m->device) && !m->device->loading && count > EMBED_TOKENS;
	return beside ? embed_beside(m, t, id, count, d_x, err) : embed_ordered(m, t, id, count, d_x, err);
}
