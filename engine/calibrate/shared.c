/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sequences in the order of their tokens, each after what it shares with the one before it. In that order the sequence before
 * shares at least as much as any earlier one, so that the rows of a beginning are found by walking one path. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/shared.h"

/* Shorter beginnings are computed again: finding their rows costs more. */
#define LEAST 8

struct run {
	uint64_t first, count;
};

/* The rows of a sequence's tokens. */
struct path {
	struct run *run;
	size_t runs;
};

struct layout {
	const struct cwe_sample_set *set;
	int share;
	size_t *order;      /* [sequences] */
	struct path *path;  /* [sequences] by number in the set */
	struct cwe_corpus c;
	/* The piece in the making. */
	struct cwe_piece p;
	struct cwp_prefixes_room {
		uint64_t *first, *count;
		uint64_t ranges, room;
	} prefixes;
};

static const struct cwe_sequence *sequence(const struct layout *l, size_t i)
{
	return l->set->sample[i].sequence;
}

static int by_tokens(const void *a, const void *b, void *arg)
{
	const struct layout *l = arg;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	const struct cwe_sequence *x = sequence(l, i), *y = sequence(l, k);
	size_t n = x->count < y->count ? x->count : y->count;

	for (size_t t = 0; t < n; t++) {
		if (x->id[t] != y->id[t])
			return x->id[t] < y->id[t] ? -1 : 1;
	}
	if (x->count != y->count)
		return x->count < y->count ? -1 : 1;
	return i < k ? -1 : i > k;
}

static size_t alike(const struct cwe_sequence *x, const struct cwe_sequence *y)
{
	size_t n = x->count < y->count ? x->count : y->count, t = 0;

	while (t < n && x->id[t] == y->id[t])
		t++;
	return t >= LEAST ? t : 0;
}

/* The first `tokens` tokens of a path, and room for one run more. */
static int copy_path(const struct path *from, uint64_t tokens, struct path *ret)
{
	*ret = (struct path){.run = malloc((from->runs + 1) * sizeof(*ret->run))};
	if (!ret->run)
		return -ENOMEM;
	for (size_t i = 0; i < from->runs && tokens > 0; i++) {
		struct run r = from->run[i];

		r.count = r.count < tokens ? r.count : tokens;
		tokens -= r.count;
		ret->run[ret->runs++] = r;
	}
	return 0;
}

/* The rows that a sequence goes on after, at the end of the piece's ranges. */
static int add_ranges(struct layout *l, const struct path *path, uint64_t tokens)
{
	struct cwp_prefixes_room *p = &l->prefixes;

	for (size_t i = 0; i < path->runs && tokens > 0; i++) {
		if (p->ranges == p->room) {
			uint64_t room = p->room > 0 ? 2 * p->room : 64;
			uint64_t *first = realloc(p->first, room * sizeof(*first));
			uint64_t *count = first ? realloc(p->count, room * sizeof(*count)) : NULL;

			p->first = first ? first : p->first;
			p->count = count ? count : p->count;
			if (!first || !count)
				return -ENOMEM;
			p->room = room;
		}
		uint64_t n = path->run[i].count < tokens ? path->run[i].count : tokens;

		p->first[p->ranges] = path->run[i].first - l->p.at;
		p->count[p->ranges++] = n;
		tokens -= n;
	}
	return 0;
}

static int begin_piece(struct layout *l, size_t most)
{
	l->p = (struct cwe_piece){.at = l->c.tokens, .sequence_start = calloc(most + 1, sizeof(uint64_t)),
		.sample_start = calloc(most + 1, sizeof(uint64_t)), .range = calloc(most + 1, sizeof(uint64_t))};
	memset(&l->prefixes, 0, sizeof(l->prefixes));
	return l->p.sequence_start && l->p.sample_start && l->p.range ? 0 : -ENOMEM;
}

/* The piece joins the corpus, which owns its arrays from now on, also when memory ran out. */
static int end_piece(struct layout *l)
{
	struct cwe_piece *grown = realloc(l->c.piece, (l->c.pieces + 1) * sizeof(*grown));

	l->p.range_first = l->prefixes.first;
	l->p.range_count = l->prefixes.count;
	if (!grown) {
		cwe_piece_free(&l->p);
		return -ENOMEM;
	}
	memcpy(l->p.sample_start, l->p.sequence_start, (l->p.sequences + 1) * sizeof(uint64_t));
	l->p.samples = l->p.sequences;
	l->c.piece = grown;
	l->c.piece[l->c.pieces++] = l->p;
	l->c.widest = l->p.tokens > l->c.widest ? l->p.tokens : l->c.widest;
	memset(&l->p, 0, sizeof(l->p));
	return 0;
}

/* Marks what counts of the tokens that lie in earlier rows. */
static void mark(struct layout *l, const struct path *path, const struct cwe_sequence *s)
{
	size_t t = 0;

	for (size_t i = 0; i < path->runs; i++) {
		for (uint64_t k = 0; k < path->run[i].count; k++, t++) {
			if (s->weight[t] != 0)
				l->c.weight[path->run[i].first + k] = s->weight[t];
		}
	}
}

/* Appends what sequence i does not share: its rows begin with the last shared token once more, whose row predicts the first of
 * its own. */
static int add_sequence(struct layout *l, size_t i, const struct path *before, size_t shared)
{
	const struct cwe_sequence *s = sequence(l, i);
	size_t again = shared > 0 ? shared - 1 : 0, own = s->count - again;
	uint64_t at = l->c.tokens;
	struct path *path = &l->path[i];

	if (copy_path(before, shared, path) != 0)
		return -ENOMEM;
	if (shared < s->count) {
		if (add_ranges(l, before, again) != 0)
			return -ENOMEM;
		for (size_t t = 0; t < own; t++) {
			l->c.id[at + t] = s->id[again + t];
			l->c.position[at + t] = (uint32_t)(again + t);
			l->c.weight[at + t] = 0;
		}
		path->run[path->runs++] = (struct run){at + (shared - again), s->count - shared};
		l->p.tokens += own;
		l->p.sequence_start[++l->p.sequences] = l->p.tokens;
		l->p.range[l->p.sequences] = l->prefixes.ranges;
		l->c.tokens += own;
	}
	l->c.longest = s->count > l->c.longest ? s->count : l->c.longest;
	mark(l, path, s);
	return 0;
}

static int lay_out(struct layout *l)
{
	static const struct path none = {0};
	size_t n = l->set->count;
	int rc = n > 0 ? begin_piece(l, n) : 0;

	for (size_t k = 0; rc == 0 && k < n; k++) {
		size_t i = l->order[k], before = k > 0 ? l->order[k - 1] : 0;
		size_t shared = k > 0 && l->share ? alike(sequence(l, before), sequence(l, i)) : 0;
		uint64_t own = sequence(l, i)->count - (shared > 0 ? shared - 1 : 0);

		if (l->p.sequences > 0 && l->p.tokens + own > CWE_PIECE_TOKENS) {
			rc = end_piece(l);
			rc = rc == 0 ? begin_piece(l, n - k) : rc;
			shared = 0;
		}
		rc = rc == 0 ? add_sequence(l, i, shared > 0 ? &l->path[before] : &none, shared) : rc;
	}
	return rc == 0 && n > 0 ? end_piece(l) : rc;
}

/* The paths as the result has them. */
static int take_paths(const struct layout *l, struct cwe_shared *s)
{
	uint64_t runs = 0;

	for (size_t i = 0; i < l->set->count; i++)
		runs += l->path[i].runs;
	s->sequences = l->set->count;
	s->run = calloc(s->sequences + 1, sizeof(*s->run));
	s->first = calloc(runs + 1, sizeof(*s->first));
	s->count = calloc(runs + 1, sizeof(*s->count));
	if (!s->run || !s->first || !s->count)
		return -ENOMEM;
	runs = 0;
	for (size_t i = 0; i < l->set->count; i++) {
		for (size_t k = 0; k < l->path[i].runs; k++) {
			s->first[runs] = l->path[i].run[k].first;
			s->count[runs++] = l->path[i].run[k].count;
		}
		s->run[i + 1] = runs;
	}
	return 0;
}

static int allocate(struct layout *l, uint64_t tokens)
{
	size_t n = l->set->count;

	l->order = calloc(n + 1, sizeof(*l->order));
	l->path = calloc(n + 1, sizeof(*l->path));
	l->c.sets = 1;
	l->c.id = calloc(tokens + 1, sizeof(*l->c.id));
	l->c.weight = calloc(tokens + 1, sizeof(*l->c.weight));
	l->c.position = calloc(tokens + 1, sizeof(*l->c.position));
	l->c.set_samples = calloc(1, sizeof(*l->c.set_samples));
	l->c.set_tokens = calloc(1, sizeof(*l->c.set_tokens));
	return l->order && l->path && l->c.id && l->c.weight && l->c.position && l->c.set_samples && l->c.set_tokens ? 0 : -ENOMEM;
}

int cwe_shared_new(const struct cwe_sample_set *set, int share, struct cwe_shared *ret, struct cwb_err *err)
{
	struct layout l = {.set = set, .share = share};
	struct cwe_shared s = {0};

	for (size_t i = 0; i < set->count; i++)
		s.tokens += set->sample[i].sequence->count;
	int rc = allocate(&l, s.tokens);

	if (rc == 0) {
		for (size_t i = 0; i < set->count; i++)
			l.order[i] = i;
		qsort_r(l.order, set->count, sizeof(*l.order), by_tokens, &l);
		rc = lay_out(&l);
	}
	rc = rc == 0 ? take_paths(&l, &s) : rc;
	for (size_t i = 0; l.path && i < set->count; i++)
		free(l.path[i].run);
	free(l.path);
	free(l.order);
	if (rc != 0) {
		cwe_piece_free(&l.p);
		s.corpus = l.c;
		cwe_shared_free(&s);
		return cwb_err_set(err, rc, "no memory for %llu tokens of requests", (unsigned long long)s.tokens);
	}
	*l.c.set_samples = set->count;
	*l.c.set_tokens = l.c.tokens;
	s.corpus = l.c;
	*ret = s;
	return 0;
}

uint64_t cwe_shared_longest(const struct cwe_sample_set *set)
{
	uint64_t n = 0;

	for (size_t i = 0; i < set->count; i++)
		n = set->sample[i].sequence->count > n ? set->sample[i].sequence->count : n;
	return n;
}

uint64_t cwe_shared_row(const struct cwe_shared *s, uint64_t i, uint64_t t)
{
	uint64_t r = s->run[i];

	for (; r + 1 < s->run[i + 1] && t >= s->count[r]; r++)
		t -= s->count[r];
	return s->first[r] + t;
}

struct cwe_sequence_score cwe_shared_score(const struct cwe_shared *s, uint64_t i, const struct cwe_sequence *sequence,
	const struct cwe_token_score *score)
{
	struct cwe_sequence_score sum = {.greedy = 1};
	uint64_t t = 0;

	for (uint64_t r = s->run[i]; r < s->run[i + 1]; r++) {
		for (uint64_t k = 0; k < s->count[r]; k++, t++) {
			if (sequence->weight[t] != 0) {
				sum.loglik -= (double)score->nll[s->first[r] + k];
				sum.tokens++;
				sum.greedy &= score->greedy[s->first[r] + k];
			}
		}
	}
	return sum;
}

void cwe_shared_free(struct cwe_shared *s)
{
	cwe_corpus_free(&s->corpus);
	free(s->run);
	free(s->first);
	free(s->count);
	memset(s, 0, sizeof(*s));
}
