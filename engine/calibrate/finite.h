/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where hidden states stop being numbers. */
#pragma once

#include "engine/calibrate/boundary.h"
#include "engine/calibrate/corpus.h"

/* The first token, in the corpus' order, whose numbers [hidden] in a slot are not all finite; *ret: corpus->tokens when
 * there is none. */
int cwe_finite_check(struct cwe_boundary *boundary, uint32_t slot, const struct cwe_corpus *corpus, uint64_t hidden,
	uint64_t *ret, struct cwb_err *err);

/* Runs one sequence alone and looks behind each layer: *ret_layer is the first whose output is not finite for some token, -1
 * when the embeddings are not, the number of layers when all are. */
int cwe_finite_find(struct cwe_model *model, const uint32_t *id, size_t count, int64_t *ret_layer, struct cwb_err *err);
