/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a generator is made of. Private to this folder. */
#pragma once

#include "engine/model/generate.h"

#define CWE_GENERATOR_SLICE 4096 /* vocabulary entries at a time */
#define CWE_GENERATOR_PACK 512   /* tokens of prompts that go through the layers together, unless one is longer */

/* A sequence at work. */
struct cwe_slot {
	const struct cwe_generation *what; /* NULL: the slot is free */
	uint32_t *id;      /* [what->count + room] the prompt, then new tokens */
	uint64_t count;    /* of them there */
	uint64_t room;     /* new tokens at most */
	uint64_t cached;   /* tokens whose keys and values are in the cache */
	int extended;      /* the cache is rotated as in a long sequence: cwe_rope_extended */
	float *d_cache;    /* [layers][2][what->count + room, kv_heads * head_dim]: keys, then values */
};

struct cwe_generator {
	struct cwe_model *model;
	struct cwe_generator_size size;
	uint64_t rows;           /* tokens of a sequence whose cache is filled, at most */
	uint64_t pack;           /* tokens that go through the layers at once then, at most */
	struct cwe_layer *layer; /* [resident ? layers : 1] */
	uint32_t resident;       /* layers that stay; the one after them is loaded again each time */
	int head_resident;
	struct cwe_workspace ws;
	float *d_x;              /* [slots * rows + CWE_PACK_LEAST, hidden] sequences whose caches are being filled, by packs */
	uint32_t *d_row;         /* [slots * rows + CWE_PACK_LEAST] rows of the rotary tables of their tokens */
	float *d_t;              /* [slots, hidden] one token of each of the others */
	float *d_last;           /* [slots, hidden] what the next tokens come from */
	float *d_norm, *d_head;
	float *d_logits;         /* [slots, CWE_GENERATOR_SLICE] */
	float *d_stats;          /* [4, slots] norm's factor; largest, target's, best logit */
	double *d_sum;           /* [slots] */
	uint32_t *d_token;       /* [2, slots] target, best */
	uint32_t *d_position;    /* 0, 1, 2 .. rows of the rotary tables, those of long sequences too */
	uint32_t *d_at;          /* [slots] rows of the tokens in d_t */
	struct cwe_slot slot[CWE_GENERATOR_SLOTS];
};

/* Products of fewer rows have sums of their own (backend.h): a pack of several sequences is filled up to this. */
#define CWE_PACK_LEAST 17

/* Sequences that fill their caches together: rows of what all begin with, of what each has after it, and of nothing. */
struct cwe_pack {
	struct cwe_slot *const *slot; /* [count] */
	uint64_t count;
	uint64_t shared; /* tokens at the beginning; 0: each sequence has all its own */
	uint64_t rows;   /* with those that fill up */
};

/* The pack with the first of n sequences, as many as fit; their order is kept. */
struct cwe_pack cwe_pack_take(const struct cwe_generator *g, struct cwe_slot *const *slot, uint64_t n);
/* Embeds a pack's tokens -> d_x [rows, hidden] and their positions -> d_row [rows]. */
int cwe_pack_embed(struct cwe_generator *g, const struct cwe_pack *pack, float *d_x, uint32_t *d_row, struct cwb_err *err);
/* A pack through a layer: d_x is replaced, the sequences' caches get their keys and values. */
int cwe_pack_forward(struct cwe_generator *g, const struct cwe_pack *pack, const struct cwe_layer *layer, float *d_x,
	const uint32_t *d_row, struct cwb_err *err);
/* The row behind the last token of sequence i. */
uint64_t cwe_pack_end(const struct cwe_pack *pack, uint64_t i);

/* Layer l, read anew unless it stays. */
int cwe_generator_layer(struct cwe_generator *g, uint32_t l, const struct cwe_layer **ret, struct cwb_err *err);
/* Rows of the output projection [first, first + n), n at most CWE_GENERATOR_SLICE, likewise. */
int cwe_generator_head(struct cwe_generator *g, uint64_t first, uint64_t n, const float **ret, struct cwb_err *err);

/* A slot for a request with room for at least one token. On failure the slot stays free. */
int cwe_slot_open(struct cwe_generator *g, struct cwe_slot *slot, const struct cwe_generation *what, uint64_t room,
	struct cwb_err *err);
void cwe_slot_close(struct cwe_generator *g, struct cwe_slot *slot); /* a free one is fine */
/* The cache of a layer. */
void cwe_slot_cache(const struct cwe_generator *g, const struct cwe_slot *slot, uint32_t layer, float **ret_k, float **ret_v);
