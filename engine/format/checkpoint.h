/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The safetensors files of a Hugging Face directory: model.safetensors alone, else the shards of
 * model.safetensors.index.json. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/safetensors.h"
#include "engine/format/weights.h"

struct cwe_checkpoint_tensor {
	const struct cwe_safetensors *file;
	const struct cwe_safetensors_entry *entry;
};

/* All tensors of all dtypes. */
struct cwe_checkpoint {
	size_t files;
	struct cwe_safetensors **file;
	size_t count;
	struct cwe_checkpoint_tensor *tensors; /* sorted by name (strcmp) */
};

/* Opens all files below directory and checks their headers, and an index against them: plain file names, no name in two
 * files, every mapped name where the index says. model.safetensors wins over an index beside it, as in transformers.
 * CWP_EMISSING when there is neither. *ret is closed with cwe_checkpoint_close. */
int cwe_checkpoint_open(const char *directory, struct cwe_checkpoint **ret, struct cwb_err *err);
void cwe_checkpoint_close(struct cwe_checkpoint *c); /* NULL is allowed */

/* The tensor of this name, or NULL. Lives as long as c. [any-thread] */
const struct cwe_checkpoint_tensor *cwe_checkpoint_find(const struct cwe_checkpoint *c, const char *name);
/* As cwe_safetensors_read. [any-thread] */
int cwe_checkpoint_read(const struct cwe_checkpoint_tensor *t, uint64_t offset, void *dst, uint64_t bytes,
	struct cwb_err *err);

/* The same as weights: the tensors of F32, F16 and BF16 of at most CWE_RANK_MAX dimensions; others are left out, but a
 * ".weight" of another dtype is refused, as the checkpoint is quantized then. */
int cwe_checkpoint_weights_open(const char *directory, struct cwe_weights **ret, struct cwb_err *err);
