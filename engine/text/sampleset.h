/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Putting a set of samples together. */
#pragma once

#include "engine/text/sequence.h"

/* A set in the making; room is how many its array holds. */
struct cwe_sampleset {
	struct cwe_sample_set *set;
	size_t room;
};

/* A new, empty sample at the end; NULL when memory ran out. */
struct cwe_sample *cwe_sampleset_add(struct cwe_sampleset *s);
/* Takes the sequence over, also on error. 0 or -ENOMEM. */
int cwe_sampleset_add_sequence(
	struct cwe_sampleset *s, size_t sample, struct cwe_sequence *sequence);

/* A sample file: what cwe_samples_read_file does, for a set whose sequences may have at most
 * `limit` tokens (0: any number); limit_name says in messages what the limit is. */
int cwe_samplefile_read(const char *path, size_t limit, const char *limit_name, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err);
