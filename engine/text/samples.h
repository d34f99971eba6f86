/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calibration sets as samples: one or more token sequences with a signed weight on every predicted
 * token, so that one formula covers all: loss = sum over tokens of weight * NLL (architecture: "A
 * sample"). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/text/chat.h"
#include "engine/text/tokenizer.h"
#include "job/job.h"

struct cwe_sequence {
	uint32_t *id;  /* [count] */
	float *weight; /* [count]: signed weight on the prediction of id[t]; weight[0] is 0 */
	size_t count;  /* at least 1 */
};

struct cwe_sample {
	struct cwe_sequence *sequence;
	size_t count;
	char digest[33]; /* first 32 hexadecimal digits of SHA-256 of its text */
	char *identity;  /* by which the item is known in every file and language of its set, for
			    disjointness: "stereoset/03bd..", "bbq/Age/12"; a sample file's is
			    "samples/<digest>" */
};

struct cwe_sample_set {
	char *name;
	enum cwj_role role;
	struct cwe_sample *sample;
	size_t count;
	uint64_t tokens;    /* over all sequences */
	uint64_t truncated; /* samples that were cut to `length` */
	uint64_t passed;    /* records that are no items, or whose items are too long or too short,
			       before `count` samples were found */
};

/* Reads a set as the job describes it. What its items are made of, cwe_datasets says (or, for data
 * csv, json and jsonl, the job's columns); by kind a sample is
 *   text      1/(n-1) on all but the first token; what has fewer than two tokens is passed over
 *   answers   1/n on the answer's tokens. With a chat the prompt is a user's message behind which
 * the answer stands; without one a line end goes between where neither text has white space there
 * (a space for questions that end in "Answer:") refusals  the same with one answer for all prompts
 *   pairs     +1/n on the stereotype's own tokens, -1/n on the other's; white space at the end of
 *             the context belongs to the continuation
 * In front of text, pairs, and answers without a chat: what the tokenizer's template puts there;
 * for an empty context at least BOS, if there is one. Data samples holds JSON lines {"ids",
 * "weights", "group"}, and needs no tokenizer: t and chat may be NULL. set->samples items are taken
 * (0: all): those with the smallest SHA-256 of (seed, set name, item), in that order, whatever
 * their order in the file; fewer are an error. context: the model's context length, 0: not limited.
 * A sequence longer than set->length (default 512, or context when that is less; data samples:
 * context) is cut (text, and answers in the answer). Where nothing would be left, and for pairs,
 * the item of a published set is passed over; in other files it is an error that names file and
 * line. Errors have line and field; where the job is at fault, its line, column and field. */
int cwe_samples_read(const struct cwj_set *set, const struct cwe_tokenizer *t,
	const struct cwe_chat *chat, uint64_t seed, size_t context, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err);
/* Whether the set's prompts are rendered with a chat format where there is one. */
int cwe_samples_use_chat(const struct cwj_set *set);
/* A sample file by itself (data: samples), for cwp-inspect statistics. */
int cwe_samples_read_file(const char *path, size_t context, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err);
void cwe_samples_free(struct cwe_sample_set *set);
