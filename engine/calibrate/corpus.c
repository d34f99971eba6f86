/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cuts sample sets into pieces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/corpus.h"
#include "engine/model/ops.h"

static uint64_t sample_tokens(const struct cwe_sample *s)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		n += s->sequence[i].count;
	}
	return n;
}

/* Appends samples [first, last) of a set as one piece. */
static int add_piece(struct cwe_corpus *c, const struct cwe_sample_set *set, uint32_t index, size_t first, size_t last)
{
	struct cwe_piece p = {.set = index, .at = c->tokens, .samples = last - first};
	for (size_t s = first; s < last; s++) {
		p.sequences += set->sample[s].count;
	}
	p.sequence_start = calloc(p.sequences + 1, sizeof *p.sequence_start);
	p.sample_start = calloc(p.samples + 1, sizeof *p.sample_start);
	struct cwe_piece *more = realloc(c->piece, (c->pieces + 1) * sizeof *more);
	if (more != NULL) {
		c->piece = more;
	}
	if (p.sequence_start == NULL || p.sample_start == NULL || more == NULL) {
		free(p.sequence_start);
		free(p.sample_start);
		return -ENOMEM;
	}
	uint64_t at = 0, q = 0;
	for (size_t s = first; s < last; s++) {
		for (size_t i = 0; i < set->sample[s].count; i++) {
			const struct cwe_sequence *seq = &set->sample[s].sequence[i];
			memcpy(c->id + p.at + at, seq->id, seq->count * sizeof *seq->id);
			memcpy(c->weight + p.at + at, seq->weight, seq->count * sizeof *seq->weight);
			for (size_t t = 0; t < seq->count; t++) {
				c->position[p.at + at + t] = (uint32_t)t;
			}
			c->longest = seq->count > c->longest ? seq->count : c->longest;
			at += seq->count;
			p.sequence_start[++q] = at;
		}
		p.sample_start[s - first + 1] = at;
	}
	p.tokens = at;
	c->tokens += at;
	c->widest = at > c->widest ? at : c->widest;
	c->piece[c->pieces++] = p;
	return 0;
}

static int add_set(struct cwe_corpus *c, const struct cwe_sample_set *set, uint32_t index, uint64_t piece)
{
	size_t first = 0;
	uint64_t tokens = 0;
	for (size_t s = 0; s < set->count; s++) {
		uint64_t n = sample_tokens(&set->sample[s]);
		if (s > first && tokens + n > piece) {
			int r = add_piece(c, set, index, first, s);
			if (r != 0) {
				return r;
			}
			first = s;
			tokens = 0;
		}
		tokens += n;
	}
	c->set_samples[index] = set->count;
	return set->count > first ? add_piece(c, set, index, first, set->count) : 0;
}

int cwe_corpus_new(const struct cwe_sample_set *set, size_t sets, uint64_t piece, struct cwe_corpus *ret, struct cwb_err *err)
{
	struct cwe_corpus c = {.sets = (uint32_t)sets};
	uint64_t n = 0;
	for (size_t s = 0; s < sets; s++) {
		for (size_t i = 0; i < set[s].count; i++) {
			n += sample_tokens(&set[s].sample[i]);
		}
	}
	c.id = calloc(n + 1, sizeof *c.id);
	c.weight = calloc(n + 1, sizeof *c.weight);
	c.position = calloc(n + 1, sizeof *c.position);
	c.set_samples = calloc(sets + 1, sizeof *c.set_samples);
	c.set_tokens = calloc(sets + 1, sizeof *c.set_tokens);
	int r = c.id != NULL && c.weight != NULL && c.position != NULL && c.set_samples != NULL && c.set_tokens != NULL
		? 0 : -ENOMEM;
	for (size_t s = 0; r == 0 && s < sets; s++) {
		uint64_t before = c.tokens;
		r = add_set(&c, &set[s], (uint32_t)s, piece > 0 ? piece : CWE_PIECE_TOKENS);
		c.set_tokens[s] = c.tokens - before;
	}
	if (r != 0) {
		cwe_corpus_free(&c);
		return cwb_err_set(err, r, "no memory for %llu tokens of samples", (unsigned long long)n);
	}
	*ret = c;
	return 0;
}

void cwe_piece_free(struct cwe_piece *p)
{
	free(p->sequence_start);
	free(p->sample_start);
	free(p->range);
	free(p->range_first);
	free(p->range_count);
	memset(p, 0, sizeof *p);
}

void cwe_corpus_free(struct cwe_corpus *c)
{
	for (size_t i = 0; i < c->pieces; i++) {
		cwe_piece_free(&c->piece[i]);
	}
	free(c->piece);
	free(c->id);
	free(c->weight);
	free(c->position);
	free(c->set_samples);
	free(c->set_tokens);
	memset(c, 0, sizeof *c);
}

/* Positions of a sequence whose rotary tables are the second ones: behind the first, which have `longest` rows. */
static int load_extended(struct cwe_model *model, const struct cwe_corpus *c, uint64_t at, uint64_t n, uint32_t *d_position,
	struct cwb_err *err)
{
	uint32_t *position = malloc(n * sizeof *position);
	if (position == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu positions", (unsigned long long)n);
	}
	for (uint64_t t = 0; t < n; t++) {
		position[t] = c->position[at + t] + (uint32_t)c->longest;
	}
	int r = CWE_OP(model->device, upload, d_position, position, n * sizeof *position);
	free(position);
	return r;
}

struct cwe_chunk cwe_piece_chunk(const struct cwe_piece *p, const uint32_t *d_position)
{
	return (struct cwe_chunk){.tokens = p->tokens, .sequences = {p->sequences, p->sequence_start},
		.samples = {p->samples, p->sample_start}, .prefixes = {p->range, p->range_first, p->range_count},
		.d_position = d_position};
}

int cwe_chunk_load(struct cwe_model *model, const struct cwe_corpus *c, const struct cwe_piece *p, uint32_t *d_position,
	struct cwe_chunk *ret, struct cwb_err *err)
{
	int r = CWE_OP(model->device, upload, d_position, c->position + p->at, p->tokens * sizeof *d_position);
	for (uint64_t s = 0; r == 0 && s < p->sequences; s++) {
		uint64_t start = p->sequence_start[s], end = p->sequence_start[s + 1];
		if (cwe_rope_extended(&model->arch, end - start)) {
			r = load_extended(model, c, p->at + start, end - start, d_position + start, err);
		}
	}
	if (r == 0) {
		*ret = cwe_piece_chunk(p, d_position);
	}
	return r;
}
